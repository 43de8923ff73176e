package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// patience of a daemon's start, on a machine that does much else.
const patience = 2 * time.Minute

// ended is a daemon that ended, which none should.
type ended struct {
	name string
	err  error
}

// work starts the node's daemons, says on descriptor 3 when the node is Ready, and watches them from then on.
func work(args []string) error {
	name, address, cgroup := args[0], args[1], args[2]
	ends := make(chan ended, 2)
	start := func(daemon string, args ...string) error {
		command, err := program(daemon, daemon, args...)
		if err != nil {
			return err
		}
		if err := command.Start(); err != nil {
			return fmt.Errorf("unable to start %s: %w", daemon, err)
		}
		go func() { ends <- ended{daemon, command.Wait()} }()
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// until asks again and again, and gives up when a daemon ends.
	until := func(what string, look func() error) error {
		for {
			err := look()
			if err == nil {
				return nil
			}
			select {
			case end := <-ends:
				return fmt.Errorf("%s ended: %v", end.name, end.err)
			case <-ctx.Done():
				return fmt.Errorf("%s: not within %v: %w", what, patience, err)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}

	if err := start("containerd", "--config", inside+"/containerd.toml"); err != nil {
		return err
	}
	if err := until("containerd serves kubelets", servesKubelets); err != nil {
		return err
	}
	if err := ctr("images", "import", "--local", inside+"/images.tar"); err != nil {
		return err
	}
	err := start("kubelet",
		"--config="+inside+"/kubelet.json", "--kubeconfig="+inside+"/kubeconfig", "--root-dir="+inside+"/kubelet",
		"--cert-dir="+inside+"/pki", "--hostname-override="+name, "--node-ip="+address, "--runtime-cgroups=/"+cgroup, "--v=2")
	if err != nil {
		return err
	}
	verdict := os.NewFile(3, "verdict")
	if _, err := fmt.Fprintln(verdict, "started"); err != nil {
		return err
	}
	verdict.Close()
	end := <-ends
	return fmt.Errorf("%s ended: %v", end.name, end.err)
}

// servesKubelets says whether containerd's CRI plugin is up, which it is some time after the socket.
func servesKubelets() error {
	command := exec.Command(insideBin+"/ctr", "--address", socket, "plugins", "ls")
	output, err := command.Output()
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		if len(fields) > 2 && strings.Contains(fields[0], "grpc") && fields[1] == "cri" {
			if state := fields[len(fields)-1]; state != "ok" {
				return fmt.Errorf("its CRI plugin is %s", state)
			}
			return nil
		}
	}
	return errors.New("it has no CRI plugin")
}

func ctr(args ...string) error {
	command := exec.Command(insideBin+"/ctr", append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)...)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("unable to run ctr %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(output))
	}
	return nil
}
