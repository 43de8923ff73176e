// Command oracle runs a real kubelet on a real containerd beside a control plane of tests/controlplane, as a node that tests
// ask "what would the kubelet do?". See ../README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

const usage = `usage: oracle VERB [flags]
  up     start a node in the background, print its oracle.json, return   (--cluster, --dir, [--name])
  down   take a node down                                                (--dir)
  run    start a node and take it down at ctrl-C                         (--cluster, --dir, [--name, --until-eof])`

// Exit codes. 3 is for a machine on which it can't run, as it is oracle.sh's for one without Go.
const (
	exitFailure    = 1
	exitImpossible = 3
	exitUsage      = 64
)

type usageError struct{ error }

// impossibleError says what this machine lacks.
type impossibleError struct{ error }

func main() {
	verb := ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	verbs := map[string]func([]string) error{
		"up": up, "down": down, "run": run,
		// Not for people: the parts of a node within its namespaces.
		verbReap: reap, verbWork: work,
	}
	do, known := verbs[verb]
	if !known {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(exitUsage)
	}
	err := do(os.Args[min(2, len(os.Args)):])
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintf(os.Stderr, "oracle %s: %v\n", verb, err)
	switch {
	case errors.As(err, &usageError{}):
		os.Exit(exitUsage)
	case errors.As(err, &impossibleError{}):
		os.Exit(exitImpossible)
	}
	os.Exit(exitFailure)
}

// options of a node.
type options struct {
	cluster, dir, name string
	untilEOF           bool
}

func parse(verb string, args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("oracle "+verb, flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "directory of the node, which is made")
	if verb != "down" {
		flags.StringVar(&o.cluster, "cluster", "", "directory of the control plane, where its cluster.json is")
		flags.StringVar(&o.name, "name", "oracle", "name of the node")
	}
	if verb == "run" {
		flags.BoolVar(&o.untilEOF, "until-eof", false, "take it down when standard input ends, too: for a test that may be killed")
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return o, err
	} else if err != nil {
		return o, usageError{err}
	}
	switch {
	case flags.NArg() > 0:
		return o, usageError{fmt.Errorf("unexpected argument %q", flags.Arg(0))}
	case o.dir == "":
		return o, usageError{errors.New("--dir is missing")}
	case verb != "down" && o.cluster == "":
		return o, usageError{errors.New("--cluster is missing: name the directory of a control plane, see tests/controlplane")}
	}
	return o, nil
}
