package registry

import "fmt"

// nextID returns a number that no registry has returned before.
func (r *Registry) nextID() uint64 {
	r.id++
	return r.id
}

// NewID returns an id that begins with name, and that no registry has returned
// before. Later ones are greater, as text too.
func (r *Registry) NewID(name string) (string, error) {
	if err := checkName("name", name); err != nil {
		return "", refuse(Malformed, 0, "%v", err)
	}
	id := fmt.Sprintf("%s-%016x", name, r.nextID())
	if len(id) > MaxText {
		return "", refuse(Malformed, 0, "name %q is too long for an id", name)
	}
	return id, nil
}
