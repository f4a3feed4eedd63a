package calls

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"rpcpool.dev/rpc/registry"
)

// instance is who a server is at a registry. It is kept beside the journal, for it is the
// same one as long as the table of calls is.
type instance struct {
	file   *os.File // locked; nil: nothing is kept
	secret registry.Secret
	life   uint32 // processes that were this instance, this one included
	epoch  uint64 // for which calls may wait in the journal; 0: none can
}

// instanceFormat is the file: secret, life and epoch, in hexadecimal, of always the same
// length, so that one write replaces it.
const instanceFormat = "%032s %08x %016x\n"

// openInstance reads the instance that belongs to a journal, or begins one. An empty path
// is that of no journal.
func openInstance(journal string) (i *instance, err error) {
	i = &instance{}
	if journal == "" {
		return i, i.renew()
	}
	path := journal + ".node"
	if i.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("the server's instance: %w", err)
	}
	if err := unix.Flock(int(i.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("journal %s is in use by another server", journal), i.file.Close())
	}
	if !i.read() {
		err = i.renew()
	} else {
		i.life++
		err = i.save(i.epoch)
	}
	if err != nil {
		return nil, errors.Join(err, i.file.Close())
	}
	return i, nil
}

// read is false if there is nothing, or nothing of sense.
func (i *instance) read() bool {
	text, err := io.ReadAll(io.NewSectionReader(i.file, 0, 128))
	if err != nil {
		return false
	}
	var secret string
	n, err := fmt.Sscanf(string(text), "%s %x %x\n", &secret, &i.life, &i.epoch)
	b, bad := hex.DecodeString(secret)
	return n == 3 && err == nil && bad == nil && copy(i.secret[:], b) == len(b) && len(b) == len(i.secret)
}

// renew makes it another instance, of which nobody has heard.
func (i *instance) renew() error {
	_, _ = rand.Read(i.secret[:]) // does not fail
	i.life = 1
	return i.save(0)
}

// save notes the epoch, in a way that survives this process.
func (i *instance) save(epoch uint64) error {
	i.epoch = epoch
	if i.file == nil {
		return nil
	}
	if _, err := i.file.WriteAt(fmt.Appendf(nil, instanceFormat, hex.EncodeToString(i.secret[:]), i.life, epoch), 0); err != nil {
		return fmt.Errorf("the server's instance: %w", err)
	}
	return nil
}

func (i *instance) close() error {
	if i.file == nil {
		return nil
	}
	return i.file.Close()
}
