package server

import "rpcpool.dev/internal/fifo"

type queue struct {
	list        fifo.List[*Job]
	limit, most int
	running     int
}

func (q *queue) init(limit, most int) { q.limit, q.most = limit, most }
func (q *queue) push(j *Job) bool {
	if q.list.Len() >= q.most {
		return false
	}
	j.queued = true
	q.list.PushBack(&j.place)
	return true
}
func (q *queue) pop() *Job {
	if q.running >= q.limit || q.list.Len() == 0 {
		return nil
	}
	q.running++
	j := q.list.Pop()
	j.queued = false
	return j
}
func (q *queue) remove(j *Job) bool {
	if !j.queued {
		return false
	}
	q.list.Remove(&j.place)
	j.queued = false
	return true
}
func (q *queue) take() *Job   { return q.list.Pop() }
func (q *queue) done(*Job)    { q.running-- }
func (q *queue) waiting() int { return q.list.Len() }
