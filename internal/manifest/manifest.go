package manifest

import (
	"fmt"
	"io"
	"os"

	"rpcpool.dev/api/v1alpha1"
)

// MaxBytes bounds a file, in bytes. It is what an API server takes in one
// request.
const MaxBytes = 3 << 20

// Stdin is the file name that means standard input.
const Stdin = "-"

// Pool is a pool that was read, with all defaults filled in and without status.
type Pool struct {
	v1alpha1.RPCPool
	Source Source
}

// Load reads the files, "-" being stdin, and returns the pools in the order of
// the documents. If anything is wrong anywhere it returns no pool and [Errors].
func Load(files []string, stdin io.Reader) ([]Pool, error) {
	reader, err := NewReader()
	if err != nil {
		return nil, err
	}
	var pools []Pool
	var problems Errors
	for _, file := range files {
		data, err := readFile(file, stdin)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		name := file
		if file == Stdin {
			name = "stdin"
		}
		read, errs := reader.read(name, data)
		pools = append(pools, read...)
		problems = append(problems, errs...)
	}
	problems = append(problems, duplicates(pools)...)
	if err := problems.asError(); err != nil {
		return nil, err
	}
	return pools, nil
}

// Read reads the documents of one file. name stands in the messages only.
func (r *Reader) Read(name string, data []byte) ([]Pool, error) {
	pools, problems := r.read(name, data)
	problems = append(problems, duplicates(pools)...)
	if err := problems.asError(); err != nil {
		return nil, err
	}
	return pools, nil
}

func (r *Reader) read(name string, data []byte) ([]Pool, Errors) {
	documents := split(data)
	if len(documents) == 0 {
		return nil, Errors{fmt.Errorf("%s: no manifest in it", name)}
	}
	var pools []Pool
	var problems Errors
	for i, doc := range documents {
		source := Source{File: name, Document: i + 1}
		pool, messages := r.pool(doc)
		for _, message := range messages {
			problems = append(problems, source.Errorf("%s", message))
		}
		if len(messages) == 0 {
			pools = append(pools, Pool{RPCPool: *pool, Source: source})
		}
	}
	return pools, problems
}

// duplicates reports pools that would overwrite each other on a cluster.
func duplicates(pools []Pool) Errors {
	var problems Errors
	first := map[string]Source{}
	for _, pool := range pools {
		id := pool.Namespace + "/" + pool.Name
		if earlier, taken := first[id]; taken {
			problems = append(problems, pool.Source.Errorf(
				"metadata.name: Duplicate value: %q: also in %s", pool.Name, earlier))
			continue
		}
		first[id] = pool.Source
	}
	return problems
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != Stdin {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, MaxBytes)
	}
	return data, nil
}
