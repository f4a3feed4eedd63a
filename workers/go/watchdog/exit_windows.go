package watchdog

import "golang.org/x/sys/windows"

// exit ends the process without a word to its libraries, one of which may hold
// the loader's lock for ever.
func exit() {
	for {
		_ = windows.TerminateProcess(windows.CurrentProcess(), 0)
	}
}
