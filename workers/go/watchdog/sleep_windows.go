package watchdog

import (
	"os"

	"golang.org/x/sys/windows"
)

// sleeper waits in WaitForSingleObject on an event that rouse sets.
type sleeper struct{ event windows.Handle }

func (s *sleeper) open() (err error) {
	s.event, err = windows.CreateEvent(nil, 0, 0, nil) // resets itself, not set
	return os.NewSyscallError("CreateEvent", err)
}

// rouse ends a sleep, now or the next.
func (s *sleeper) rouse() { _ = windows.SetEvent(s.event) }

// sleep waits for rouse, at most for ms milliseconds. It may return early.
func (s *sleeper) sleep(ms int) {
	wait := uint32(windows.INFINITE)
	if ms >= 0 {
		wait = uint32(ms)
	}
	if _, err := windows.WaitForSingleObject(s.event, wait); err != nil {
		const blindly = 10 // milliseconds: somebody closed the event
		windows.SleepEx(blindly, false)
	}
}

func (s *sleeper) close() { _ = windows.CloseHandle(s.event) }
