// Package cluster starts, supervises and removes a Kubernetes control plane whose parts are all in the running binary.
package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Usage is what a wrong call gets to read.
const Usage = `usage: controlplane VERB [flags]
  up       start a cluster, print its cluster.json, and return
  down     take a cluster down                              (--dir)
  run      start a cluster and take it down at ctrl-C
  restart  end one component and wait until it is back      (--dir, [--signal KILL], COMPONENT)
  stop     end one component and keep it down               (--dir, [--signal KILL], COMPONENT)
  start    start a stopped component                        (--dir, COMPONENT)
or a component and its own arguments: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl`

// Exit codes. 3 is cluster.sh's, for a machine without Go.
const (
	exitFailure = 1
	// ExitUsage is the exit code for a wrong call.
	ExitUsage = 64
)

// Main runs one verb of ours and returns the exit code.
func Main(verb string, args []string) int {
	verbs := map[string]func([]string) error{
		"up": up, "down": down, "run": run, "supervise": superviseVerb, "restart": restart, "stop": stop, "start": start,
	}
	run, known := verbs[verb]
	if !known {
		fmt.Fprintf(os.Stderr, "controlplane: unknown verb %q\n%s\n", verb, Usage)
		return ExitUsage
	}
	err := run(args)
	var usage usageError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "controlplane %s: %v\n", verb, err)
		return ExitUsage
	default:
		fmt.Fprintf(os.Stderr, "controlplane %s: %v\n", verb, err)
		return exitFailure
	}
}

type usageError struct{ error }

// parse reads flags and up to the given number of words behind them, in any order.
func parse(flags *flag.FlagSet, args []string, words ...*string) error {
	flags.SetOutput(os.Stderr)
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return err
		} else if err != nil {
			return usageError{err}
		}
		if flags.NArg() == 0 {
			break
		}
		if len(words) == 0 {
			return usageError{fmt.Errorf("unexpected argument %q", flags.Arg(0))}
		}
		*words[0], words, args = flags.Arg(0), words[1:], flags.Args()[1:]
	}
	if len(words) > 0 {
		return usageError{errors.New("name a component")}
	}
	return nil
}

// clusterFlags are those of the verbs that start a cluster.
func clusterFlags(o *options) *flag.FlagSet {
	flags := flag.NewFlagSet("controlplane", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "directory of the cluster; a new temporary one without it")
	flags.StringVar(&o.rbac, "rbac", "", "manifest with the host's ServiceAccount and role, applied when the API server is ready")
	flags.BoolVar(&o.audit, "audit", false, "write logs/audit.log")
	flags.StringVar(&o.auditPolicy, "audit-policy", "", "policy for the audit log, in place of one line per request; implies --audit")
	return flags
}

// complete makes paths absolute and chooses a directory if none was given.
func (o *options) complete() (err error) {
	o.audit = o.audit || o.auditPolicy != ""
	if o.dir == "" {
		o.temporary = true
		o.dir, err = os.MkdirTemp("", "outrigger-cluster-")
		if err != nil {
			return err
		}
	}
	for _, path := range []*string{&o.dir, &o.rbac, &o.auditPolicy} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return err
			}
		}
	}
	return nil
}

// untilSignal is a context that ends when the process is asked to. A terminal that closes is such a request, too.
func untilSignal() (context.Context, context.CancelFunc) {
	signal.Ignore(syscall.SIGPIPE)
	return signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
}

func notice(n *network) {
	if n.NodeProxy {
		return
	}
	fmt.Fprintf(os.Stderr, `
*****************************************************************************************************
NOTICE: the API server can't proxy to nodes here: %s.
        The cases that need it (nodes/NAME/proxy, pod proxy) will be SKIPPED.
*****************************************************************************************************

`, n.NodeProxyReason)
}

// run keeps a cluster in the foreground.
func run(args []string) error {
	var o options
	flags := clusterFlags(&o)
	untilEOF := flags.Bool("until-eof", false, "take the cluster down when standard input ends, too: for a test that may be killed")
	if err := parse(flags, args); err != nil {
		return err
	}
	if err := o.complete(); err != nil {
		return err
	}
	ctx, cancel := untilSignal()
	defer cancel()
	if *untilEOF {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	err := supervise(ctx, o, func(document *Document) error {
		notice(document.Network)
		fmt.Printf("Kubernetes %s is ready at %s; everything about it is in %s\n", document.Versions["kubernetes"], document.Server, layout{document.Dir}.document())
		fmt.Printf("Use it from any shell, with your kubectl or with %s:\n\n  export KUBECONFIG=%s\n\n", document.Kubectl, document.Kubeconfig)
		fmt.Println("ctrl-C takes all of it down.")
		return nil
	})
	if errors.Is(err, errInterrupted) {
		return nil
	}
	return err
}

// up starts a supervisor in a session of its own and waits until it says that the cluster is ready.
func up(args []string) error {
	var o options
	if err := parse(clusterFlags(&o), args); err != nil {
		return err
	}
	if err := o.complete(); err != nil {
		return err
	}
	d := layout{dir: o.dir}
	if err := d.make(); err != nil {
		return err
	}
	ctx, cancel := untilSignal()
	defer cancel()
	log, err := os.OpenFile(d.log("supervisor"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	verdict, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command(binary, "supervise", "--dir="+o.dir, "--rbac="+o.rbac, fmt.Sprintf("--audit=%t", o.audit),
		"--audit-policy="+o.auditPolicy, fmt.Sprintf("--temporary=%t", o.temporary))
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{writer}
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return err
	}
	writer.Close()
	// Until it is ready, what ends this process ends the cluster, too; afterwards, nothing here touches it.
	detach := context.AfterFunc(ctx, func() { _ = command.Process.Signal(syscall.SIGTERM) })

	// The supervisor says one line; if it dies without, the pipe ends.
	line, _ := bufio.NewReader(verdict).ReadString('\n')
	detach()
	if line != verdictReady {
		state := command.Wait()
		var failure string
		if json.Unmarshal([]byte(line), &failure) != nil {
			failure = fmt.Sprintf("the supervisor ended (%v); the end of %s:\n%s", state, d.log("supervisor"), tail(d.log("supervisor")))
		}
		return errors.New(failure)
	}
	document, err := d.read()
	if err != nil {
		return err
	}
	notice(document.Network)
	data, err := os.ReadFile(d.document())
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(data)
	return err
}

// verdictReady is what a supervisor in the background says on descriptor 3 when its cluster is ready. Anything else is an
// error message, as a JSON string.
const verdictReady = "ready\n"

// superviseVerb is the background half of up.
func superviseVerb(args []string) error {
	var o options
	flags := clusterFlags(&o)
	flags.BoolVar(&o.temporary, "temporary", false, "remove the directory at the end")
	if err := parse(flags, args); err != nil {
		return err
	}
	ctx, cancel := untilSignal()
	defer cancel()
	verdict := os.NewFile(3, "verdict")
	syscall.CloseOnExec(3)
	err := supervise(ctx, o, func(*Document) error {
		defer verdict.Close()
		_, err := io.WriteString(verdict, verdictReady)
		return err // nobody waits for the cluster any more
	})
	if err != nil {
		if line, encoding := json.Marshal(err.Error()); encoding == nil {
			_, _ = verdict.Write(append(line, '\n'))
		}
	}
	return err
}

// down ends a supervisor, or cleans up after one that was killed. A cluster that is not there is no error.
func down(args []string) error {
	flags := flag.NewFlagSet("controlplane down", flag.ContinueOnError)
	dir := flags.String("dir", "", "directory of the cluster")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *dir == "" {
		return usageError{errors.New("--dir is missing: name the directory of the cluster that is to go")}
	}
	d := layout{dir: *dir}
	if _, err := os.Stat(d.lock()); os.IsNotExist(err) {
		return nil
	}
	document, err := d.read()
	if err != nil {
		// It ended, or is about to begin: what it wrote about itself is gone or not there yet.
		document = &Document{}
	}
	lock, err := endSupervisor(d)
	if err != nil {
		return err
	}
	if lock == nil {
		return nil // it has cleaned up behind itself
	}
	defer lock.Close()

	// What a supervisor that was killed leaves behind goes with it, a moment later.
	deadline := time.Now().Add(10 * time.Second)
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	for name, component := range document.Components {
		if !eventually(deadline, func() bool { return !runs(component.Pid, binary) }) {
			return fmt.Errorf("%s (pid %d) does not end", name, component.Pid)
		}
	}
	if document.Network != nil {
		if err := document.Network.remove(); err != nil {
			return err
		}
	}
	if document.Temporary {
		return os.RemoveAll(*dir)
	}
	return errors.Join(d.clear(), os.Remove(d.lock()))
}

// endSupervisor asks the supervisor to end, and makes it if it does not. It returns the lock, held, if the supervisor could
// not clean up itself.
func endSupervisor(d layout) (*os.File, error) {
	kill := time.Now().Add(30 * time.Second)
	var asked int
	var lock *os.File
	var failure error
	ended := eventually(kill.Add(5*time.Second), func() bool {
		if _, err := os.Stat(d.lock()); os.IsNotExist(err) {
			return true
		}
		if lock, failure = lockFile(d.lock(), false); failure == nil {
			return true
		}
		if errors.Is(failure, os.ErrNotExist) {
			failure = nil // removed between the two looks
			return true
		}
		if !errors.Is(failure, syscall.EWOULDBLOCK) {
			return true
		}
		// The lock is held, so that the number in it is that of a process that lives. It may not be written yet.
		data, _ := os.ReadFile(d.lock())
		var pid int
		if _, err := fmt.Sscan(string(data), &pid); err != nil || pid <= 1 {
			return false
		}
		switch {
		case time.Now().After(kill):
			_ = syscall.Kill(pid, syscall.SIGKILL)
		case asked != pid:
			_ = syscall.Kill(pid, syscall.SIGTERM)
			asked = pid
		}
		return false
	})
	if !ended {
		return nil, fmt.Errorf("the supervisor in %s does not end", d.dir)
	}
	if lock != nil || failure == nil || errors.Is(failure, syscall.EWOULDBLOCK) {
		return lock, nil
	}
	return nil, failure
}

// runs says whether a process with this number runs this binary.
func runs(pid int, binary string) bool {
	if pid == 0 {
		return false
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && strings.TrimSuffix(path, " (deleted)") == binary
}

// componentCall is what restart, stop and start have in common.
type componentCall struct {
	layout layout
	name   string
	before *Document
	signal syscall.Signal
}

func newComponentCall(verb string, args []string) (*componentCall, error) {
	flags := flag.NewFlagSet("controlplane "+verb, flag.ContinueOnError)
	dir := flags.String("dir", "", "directory of the cluster")
	name := flags.String("signal", "KILL", "how to end it: KILL, TERM or INT")
	c := &componentCall{}
	if err := parse(flags, args, &c.name); err != nil {
		return nil, err
	}
	signals := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT}
	var known bool
	if c.signal, known = signals[*name]; !known {
		return nil, usageError{fmt.Errorf("unknown signal %q", *name)}
	}
	if !slices.Contains([]string{etcd, apiserver, controllerManager, scheduler}, c.name) {
		return nil, usageError{fmt.Errorf("unknown component %q", c.name)}
	}
	if *dir == "" {
		return nil, usageError{errors.New("--dir is missing")}
	}
	c.layout = layout{dir: *dir}
	var err error
	if c.before, err = c.layout.read(); err != nil {
		return nil, fmt.Errorf("no cluster runs in %s: %w", *dir, err)
	}
	return c, nil
}

func (c *componentCall) kill() error {
	if pid := c.before.Components[c.name].Pid; pid > 0 {
		return syscall.Kill(pid, c.signal)
	}
	return fmt.Errorf("%s does not run", c.name)
}

func (c *componentCall) wait(what string, done func(ComponentDocument) bool) error {
	if !eventually(time.Now().Add(patience), func() bool {
		document, err := c.layout.read()
		return err == nil && done(document.Components[c.name])
	}) {
		return fmt.Errorf("%s %s after %v; see %s", c.name, what, patience, c.layout.log(c.name))
	}
	return nil
}

func restart(args []string) error {
	c, err := newComponentCall("restart", args)
	if err != nil {
		return err
	}
	if err := c.kill(); err != nil {
		return err
	}
	old := c.before.Components[c.name].Pid
	return c.wait("is not back", func(now ComponentDocument) bool { return now.Ready && now.Pid != old })
}

func stop(args []string) error {
	c, err := newComponentCall("stop", args)
	if err != nil {
		return err
	}
	// The mark first, or the supervisor starts it again.
	if err := os.WriteFile(c.layout.held(c.name), nil, 0o600); err != nil {
		return err
	}
	if err := c.kill(); err != nil {
		return err
	}
	return c.wait("still runs", func(now ComponentDocument) bool { return now.Pid == 0 })
}

func start(args []string) error {
	c, err := newComponentCall("start", args)
	if err != nil {
		return err
	}
	if err := os.Remove(c.layout.held(c.name)); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := syscall.Kill(c.before.Supervisor, syscall.SIGUSR1); err != nil {
		return fmt.Errorf("unable to reach the supervisor (pid %d): %w", c.before.Supervisor, err)
	}
	return c.wait("is not ready", func(now ComponentDocument) bool { return now.Ready })
}
