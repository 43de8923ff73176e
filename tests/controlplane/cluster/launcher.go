package cluster

import (
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// launcher is one thread that starts every component, because two things belong to a thread and not to the process:
// its network namespace, which children inherit, and the parent-death signal, which a child gets when the thread (not the
// process) that started it ends. The thread is locked to a goroutine that never returns.
type launcher struct {
	thread int
	work   chan func()
}

func newLauncher() *launcher {
	l := &launcher{work: make(chan func())}
	ready := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		l.thread = unix.Gettid()
		close(ready)
		for work := range l.work {
			work()
		}
	}()
	<-ready
	return l
}

// do runs f on the launcher's thread and returns its result.
func (l *launcher) do(f func() error) error {
	result := make(chan error)
	l.work <- func() { result <- f() }
	return <-result
}

// start starts a command in the launcher's network namespace. It dies when the supervisor does, and a ctrl-C at the
// terminal does not reach it, so that the supervisor decides in which order things end.
func (l *launcher) start(command *exec.Cmd) error {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return l.do(command.Start)
}
