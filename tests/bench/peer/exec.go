package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// As a kubelet's.
const idle = 4 * time.Hour

func serveExec(w http.ResponseWriter, req *http.Request) {
	options, err := remotecommand.NewOptions(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(
		w, req, containers{}, req.PathValue("pod"), "", req.PathValue("container"), req.URL.Query()["command"],
		options, idle, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

type containers struct{}

// ExecInContainer is what ServeExec calls when all streams are there.
func (containers) ExecInContainer(
	ctx context.Context, pod, _, _ string, command []string, in io.Reader, out, errors io.WriteCloser, _ bool,
	_ <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	switch pod {
	case "echo":
		return echo(command, in, out)
	case "process":
		return process(ctx, command, in, out, errors)
	}
	return fmt.Errorf("there is no pod %q", pod)
}

func echo(command []string, in io.Reader, out io.Writer) error {
	if _, err := fmt.Fprintln(out, strings.Join(command, " ")); err != nil {
		return err
	}
	_, err := io.Copy(out, in)
	return err
}

func process(ctx context.Context, command []string, in io.Reader, out, errs io.Writer) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	// A nil pointer in an interface is no nil.
	if out != nil {
		cmd.Stdout = out
	}
	if errs != nil {
		cmd.Stderr = errs
	}
	if in != nil {
		// Not cmd.Stdin, whose end would be waited for after the process's.
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			defer stdin.Close()
			io.Copy(stdin, in)
		}()
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return utilexec.ExitErrorWrapper{ExitError: exit}
	}
	return err
}
