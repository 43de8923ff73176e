package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// patience with one component that starts, on a machine that is busy with a build.
const patience = 2 * time.Minute

// options of a cluster that is to be started.
type options struct {
	dir         string
	temporary   bool
	rbac        string
	audit       bool
	auditPolicy string
}

// supervisor starts the components, keeps them running, and takes all of it away again.
type supervisor struct {
	layout     layout
	options    options
	binary     string
	launcher   *launcher
	components []*component

	mutex    sync.Mutex
	document *Document
	changed  chan struct{} // closed, and replaced, at each change of document

	// look has one channel per component, to make it look whether it is still held.
	look map[string]chan struct{}
	// settled is when every component has been ready once; from then on one that dies is started again.
	settled bool
	failed  chan error
}

// supervise runs a whole cluster until the context ends. announce is called when it is ready, and if it fails, the cluster
// goes. Whatever happens, nothing is left running; logs stay, but for a temporary directory after a good end.
func supervise(ctx context.Context, o options, announce func(*Document) error) (err error) {
	d := layout{dir: o.dir}
	if err := d.make(); err != nil {
		return err
	}
	lock, err := lockFile(d.lock(), false)
	for errors.Is(err, os.ErrNotExist) {
		// The one before has just ended, and took the file with it.
		lock, err = lockFile(d.lock(), false)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("a cluster runs in %s already; take it down first, or choose another --dir", o.dir)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := errors.Join(lock.Truncate(0), d.clear(), d.make()); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(lock, os.Getpid()); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, d.clear(), os.Remove(d.lock()))
		if o.temporary && err == nil {
			err = os.RemoveAll(o.dir)
		}
	}()

	binary, err := os.Executable()
	if err != nil {
		return err
	}
	s := &supervisor{
		layout: d, options: o, binary: binary, launcher: newLauncher(),
		changed: make(chan struct{}), look: map[string]chan struct{}{}, failed: make(chan error, 1),
	}
	if err := s.prepare(); err != nil {
		return errors.Join(err, s.removeNetwork())
	}

	running, stop := context.WithCancel(ctx)
	var keepers sync.WaitGroup
	defer func() {
		stop()
		keepers.Wait()
		err = errors.Join(err, s.removeNetwork())
	}()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	defer signal.Stop(signals)

	if err := s.start(running, &keepers); err != nil {
		return ignoreEnd(ctx, err)
	}
	err = s.bootstrap(running)
	s.update(func(document *Document) {
		select {
		case failure := <-s.failed:
			err = failure // whatever bootstrap says then is only what follows from it
		default:
			s.settled = err == nil
			document.Ready = s.settled
		}
	})
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	if err := announce(s.snapshot()); err != nil {
		return err
	}
	for {
		select {
		case <-signals:
			for _, look := range s.look {
				select {
				case look <- struct{}{}:
				default:
				}
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// ignoreEnd makes no error of what was interrupted because the cluster is to go.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

var errInterrupted = errors.New("interrupted before the cluster was ready")

// prepare makes network, keys and configuration, and the document that describes them.
func (s *supervisor) prepare() error {
	s.document = &Document{Dir: s.options.dir, Supervisor: os.Getpid(), Temporary: s.options.temporary}
	n, err := newNetwork(s.launcher)
	if n != nil {
		// Even half a network has to be removed.
		s.document.Network = n
	}
	if err != nil {
		return err
	}
	p, err := writePKI(s.layout.pki(), n.Inside)
	if err != nil {
		return err
	}
	server := fmt.Sprintf("https://%s:%d", n.Inside, n.ports.apiserver)
	users := map[string]string{adminUser: "admin", controllerManager: controllerManager, scheduler: scheduler}
	for user, cert := range users {
		credential := credential{certFile: p.cert(cert), keyFile: p.key(cert)}
		if err := writeKubeconfig(s.layout.kubeconfig(user), server, p.cert("ca"), user, credential); err != nil {
			return err
		}
	}
	if err := s.writeConfig(); err != nil {
		return err
	}
	if s.components, err = newComponents(s.layout, n, p, s.launcher, s.options.audit); err != nil {
		return err
	}

	s.document.Server = server
	s.document.Kubeconfig = s.layout.kubeconfig(adminUser)
	s.document.Kubectl = s.layout.kubectl()
	s.document.CAFile = p.cert("ca")
	s.document.KubeletClientCAFile = p.cert("kubelet-client-ca")
	s.document.KubeletClientName = kubeletClientName
	s.document.Components = map[string]ComponentDocument{}
	if s.options.audit {
		s.document.AuditLog = s.layout.audit()
	}
	for _, c := range s.components {
		if err := writeFlags(s.layout, c); err != nil {
			return err
		}
		s.look[c.name] = make(chan struct{}, 1)
		s.document.Components[c.name] = ComponentDocument{Flags: s.layout.flags(c.name), Log: s.layout.log(c.name)}
	}
	return s.layout.write(s.document)
}

// start starts the components one after the other, each when the one before it is ready, but for the last two, which do
// not need each other.
func (s *supervisor) start(ctx context.Context, keepers *sync.WaitGroup) error {
	for _, c := range s.components {
		keepers.Go(func() { s.keep(ctx, c) })
		if c.name == controllerManager {
			continue
		}
		if err := s.waitReady(ctx, c.name); err != nil {
			return err
		}
	}
	return s.waitReady(ctx, controllerManager)
}

func (s *supervisor) waitReady(ctx context.Context, name string) error {
	deadline := time.After(patience)
	for {
		s.mutex.Lock()
		ready, changed := s.document.Components[name].Ready, s.changed
		s.mutex.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("%s is not ready after %v; the end of %s:\n%s", name, patience, s.layout.log(name), tail(s.layout.log(name)))
		}
	}
}

// keep runs one component until the context ends: starts it, starts it again when it has died, and leaves it down while a
// file in held/ asks for it.
func (s *supervisor) keep(ctx context.Context, c *component) {
	for ctx.Err() == nil {
		if _, err := os.Stat(s.layout.held(c.name)); err == nil {
			select {
			case <-s.look[c.name]:
			case <-ctx.Done():
			}
			continue
		}
		err := s.runOnce(ctx, c)
		if ctx.Err() != nil {
			return
		}
		slog.Warn("component ended", "component", c.name, "state", err)
		if s.failStart(c.name, err) {
			return
		}
		// One that can't start must not take the whole machine by trying.
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// failStart reports a component that ended before the cluster was ready, and whether that is so.
func (s *supervisor) failStart(name string, state error) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.settled {
		return false
	}
	log := s.layout.log(name)
	select {
	case s.failed <- fmt.Errorf("%s ended while the cluster started (%w); the end of %s:\n%s", name, state, log, tail(log)):
	default: // another one was first
	}
	return true
}

// runOnce starts a component and returns when it has ended.
func (s *supervisor) runOnce(ctx context.Context, c *component) error {
	flags, err := readFlags(s.layout, c.name)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.layout.log(c.name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.Command(s.binary, append([]string{c.name}, flags...)...)
	command.Env = s.environment()
	command.Dir = s.layout.dir
	command.Stdout, command.Stderr = log, log
	if err := s.launcher.start(command); err != nil {
		return err
	}
	slog.Info("component started", "component", c.name, "pid", command.Process.Pid)
	s.set(c.name, command.Process.Pid, false)

	life, ended := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for c.healthy(life) != nil {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-life.Done():
				return
			}
		}
		s.set(c.name, command.Process.Pid, true)
	})
	watcher.Go(func() {
		<-life.Done()
		// Nothing of a cluster that goes is worth an orderly end. Harmless for one that has ended on its own.
		_ = command.Process.Kill()
	})
	err = command.Wait()
	ended()
	watcher.Wait()
	s.set(c.name, 0, false)
	if err == nil {
		err = errors.New("exit status 0")
	}
	return err
}

// environment of components: nothing of the caller's, which might redirect (proxies) or configure (ETCD_*) them.
func (s *supervisor) environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.layout.dir, "TMPDIR=" + os.TempDir()}
}

func (s *supervisor) set(name string, pid int, ready bool) {
	s.update(func(document *Document) {
		component := document.Components[name]
		component.Pid, component.Ready = pid, ready
		document.Components[name] = component
	})
}

// update changes the document, on disk too, and wakes whoever waits for a change.
func (s *supervisor) update(change func(*Document)) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	change(s.document)
	if err := s.layout.write(s.document); err != nil {
		slog.Error("unable to write the cluster document", "error", err)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *supervisor) snapshot() *Document {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	copied := *s.document
	return &copied
}

// removeNetwork removes the outside end of the veth pair and with it the inside one; the namespace goes with this process.
func (s *supervisor) removeNetwork() error {
	if n := s.document.Network; n != nil {
		return n.remove()
	}
	return nil
}

// tail is the last part of a file, for messages.
func tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > 2000 {
		_, _ = file.Seek(-2000, io.SeekEnd)
	}
	data, _ := io.ReadAll(file)
	return string(data)
}
