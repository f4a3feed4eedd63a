package rpc

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	raw "unsafe" // the package has a function of that name

	"golang.org/x/sys/unix"
)

// refusesMemfd in the environment, "yes", has a process go without memfd_create.
const refusesMemfd = "BLOB_REFUSED"

// withoutMemfd makes this process another one, for which memfd_create fails, as seccomp profiles have it.
func withoutMemfd() error {
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_MEMFD_CREATE, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(raw.Pointer(&program)), 0, 0); err != nil {
		return err
	}
	if err := os.Setenv(refusesMemfd, "no"); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

// TestC27_SeccompRefusesMemory: what is long goes in messages, by workers and to clients that know nothing of it.
func TestC27_SeccompRefusesMemory(t *testing.T) {
	t.Setenv(refusesMemfd, "yes")
	s := startServer(t, "unix:"+t.TempDir()+"/s") // its workers inherit the filter
	c, err := Dial(ClientOptions{BlobThreshold: LongBlob}, s.address)
	if err != nil {
		t.Fatal(err)
	}
	longCalls(t, &blobRig{Client: c})
	if _, err := c.AllocateBlob(soon(t), 10); err == nil {
		t.Error("a blob was made all the same")
	}
	s.rest()
	if _, _, maps := s.says(); maps > 0 {
		t.Errorf("%d segments are mapped", maps)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
