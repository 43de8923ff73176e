// Command client-go does with Kubernetes' own client library what kubectl does with it, by exactly one protocol and without
// a way back to the other, through an API server or straight with a node, for tests/suite/interop.
//
//	client-go exec [-i] [-t] POD -- COMMAND...      ends with the command's exit code
//	client-go logs POD                              follows the log to its end
//	client-go port-forward POD :PORT                prints "Forwarding from ADDRESS -> PORT" and goes on until it is killed
//
// Environment: KUBECONFIG and INTEROP_NAMESPACE; INTEROP_PROTOCOL, which is spdy or websocket; for a node INTEROP_NODE, its
// address with the port, and INTEROP_CERTIFICATE and INTEROP_KEY, the files to show it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

// As it is called in all pods of those tests.
const container = "app"

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: client-go exec|logs|port-forward ...")
	}
	target, err := newTarget()
	if err != nil {
		log.Fatal(err)
	}
	switch os.Args[1] {
	case "exec":
		err = run(target, os.Args[2:])
	case "logs":
		err = follow(target, os.Args[2])
	case "port-forward":
		err = forward(target, os.Args[2], os.Args[3])
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	var exit exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitStatus())
	}
	if err != nil {
		log.Fatal(err)
	}
}

// target is an API server, or a node.
type target struct {
	config    *rest.Config
	base      *url.URL
	namespace string
	direct    bool
	websocket bool
}

func newTarget() (*target, error) {
	to := &target{
		namespace: os.Getenv("INTEROP_NAMESPACE"),
		websocket: os.Getenv("INTEROP_PROTOCOL") == "websocket",
	}
	if node := os.Getenv("INTEROP_NODE"); node != "" {
		to.direct = true
		to.config = &rest.Config{Host: "https://" + node}
		// A node's certificate is its own.
		to.config.Insecure = true
		to.config.CertFile = os.Getenv("INTEROP_CERTIFICATE")
		to.config.KeyFile = os.Getenv("INTEROP_KEY")
	} else {
		config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
		if err != nil {
			return nil, err
		}
		to.config = config
	}
	base, err := url.Parse(to.config.Host)
	to.base = base
	return to, err
}

// url is where something is done with a pod; an API server and a node have names of their own for all of it.
func (to *target) url(atServer, atNode, pod string, query url.Values) *url.URL {
	if to.direct {
		where := to.base.JoinPath(atNode, to.namespace, pod)
		if atNode != "portForward" {
			where = where.JoinPath(container)
		}
		where.RawQuery = query.Encode()
		return where
	}
	where := to.base.JoinPath("api/v1/namespaces", to.namespace, "pods", pod, atServer)
	where.RawQuery = query.Encode()
	return where
}

func run(to *target, args []string) error {
	flags := flag.NewFlagSet("exec", flag.ExitOnError)
	stdin := flags.Bool("i", false, "pass the input on")
	tty := flags.Bool("t", false, "with a terminal")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() < 3 || flags.Arg(1) != "--" {
		return errors.New("usage: client-go exec [-i] [-t] POD -- COMMAND...")
	}
	query := url.Values{"command": flags.Args()[2:]}
	options := remotecommand.StreamOptions{Stdout: os.Stdout, Tty: *tty}
	names := map[string]string{"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
	want := func(name string) {
		if to.direct {
			query.Set(names[name], "1")
		} else {
			query.Set(name, "true")
		}
	}
	want("stdout")
	if *stdin {
		options.Stdin = os.Stdin
		want("stdin")
	}
	if *tty {
		options.TerminalSizeQueue = newSizes()
		want("tty")
	} else {
		options.Stderr = os.Stderr
		want("stderr")
	}
	where := to.url("exec", "exec", flags.Arg(0), query)
	var executor remotecommand.Executor
	var err error
	if to.websocket {
		executor, err = remotecommand.NewWebSocketExecutor(to.config, http.MethodGet, where.String())
	} else {
		executor, err = remotecommand.NewSPDYExecutor(to.config, http.MethodPost, where)
	}
	if err != nil {
		return err
	}
	return executor.StreamWithContext(context.Background(), options)
}

// sizes are those of the terminal that this runs in.
type sizes chan os.Signal

func newSizes() sizes {
	changes := make(sizes, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	changes <- syscall.SIGWINCH
	return changes
}

func (s sizes) Next() *remotecommand.TerminalSize {
	<-s
	width, height, err := term.GetSize(int(os.Stdin.Fd()))
	if err != nil {
		log.Fatal(err)
	}
	return &remotecommand.TerminalSize{Width: uint16(width), Height: uint16(height)}
}

func follow(to *target, pod string) error {
	client, err := rest.HTTPClientFor(to.config)
	if err != nil {
		return err
	}
	answer, err := client.Get(to.url("log", "containerLogs", pod, url.Values{"follow": {"true"}}).String())
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

func forward(to *target, pod, ports string) error {
	where := to.url("portforward", "portForward", pod, nil)
	var dialer httpstream.Dialer
	if to.websocket {
		tunnel, err := portforward.NewSPDYOverWebsocketDialer(where, to.config)
		if err != nil {
			return err
		}
		dialer = tunnel
	} else {
		transport, upgrader, err := spdy.RoundTripperFor(to.config)
		if err != nil {
			return err
		}
		dialer = spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, where)
	}
	addresses := []string{"127.0.0.1"}
	forwarder, err := portforward.NewOnAddresses(dialer, addresses, []string{ports}, nil, make(chan struct{}), os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	return forwarder.ForwardPorts()
}
