package cluster

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// network is where the components listen, and how the world outside reaches them.
//
// As root that is a network namespace without a name: it belongs to the supervisor's launcher thread and to the components,
// so that the kernel takes it away, and its end of the veth pair and thereby the other one, when the last of them is gone,
// however that came about. Nothing has to be cleaned up after a kill -9.
type network struct {
	Mode string `json:"mode"` // "namespace" or "loopback"
	// Namespace is a path for nsenter --net=PATH; empty on loopback.
	Namespace string `json:"netns,omitempty"`
	// Interface is the veth end in the ordinary namespace.
	Interface string     `json:"interface,omitempty"`
	Subnet    string     `json:"subnet,omitempty"`
	Inside    netip.Addr `json:"insideAddress"`  // the API server's
	Outside   netip.Addr `json:"outsideAddress"` // what a host in the ordinary namespace gives as its node address
	// NodeProxy says whether the API server can proxy to a node at Outside; NodeProxyReason, why not.
	NodeProxy       bool   `json:"nodeProxy"`
	NodeProxyReason string `json:"nodeProxyReason,omitempty"`

	ports ports
}

// ports of the components at Inside, but for etcd's, which are on the namespace's own loopback.
type ports struct{ apiserver, controllerManager, scheduler, etcd, etcdPeer, etcdMetrics int }

const (
	modeNamespace = "namespace"
	modeLoopback  = "loopback"
)

// pool is what subnets are taken from: the range that RFC 2544 sets apart for benchmarks, which no real network should use.
var pool = netip.MustParsePrefix("198.18.0.0/15")

const subnetBits = 24

// chooseSubnet returns the first /24 of the pool, counted from the start-th and around, that overlaps nothing in taken.
func chooseSubnet(start uint32, taken []netip.Prefix) (netip.Prefix, error) {
	count := uint32(1) << (subnetBits - pool.Bits())
	base := pool.Addr().As4()
	for i := range count {
		var address [4]byte
		offset := ((start + i) % count) << (32 - subnetBits)
		binary.BigEndian.PutUint32(address[:], binary.BigEndian.Uint32(base[:])+offset)
		candidate := netip.PrefixFrom(netip.AddrFrom4(address), subnetBits)
		free := true
		for _, other := range taken {
			free = free && !candidate.Overlaps(other)
		}
		if free {
			return candidate, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("unable to find a free subnet in %v: all %d are in use; take clusters down that nobody needs", pool, count)
}

// takenSubnets lists what this machine's interfaces and routes use. A default route takes nothing.
func takenSubnets() ([]netip.Prefix, error) {
	file, err := os.Open("/proc/net/route")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	taken, err := parseRoutes(file)
	if err != nil {
		return nil, err
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			taken = append(taken, prefix.Masked())
		}
	}
	return taken, nil
}

// parseRoutes reads the format of /proc/net/route: a heading, then a line per route with destination and mask in columns
// 1 and 7, as hexadecimal numbers in the machine's byte order.
func parseRoutes(r io.Reader) ([]netip.Prefix, error) {
	var routes []netip.Prefix
	lines := bufio.NewScanner(r)
	lines.Scan()
	for lines.Scan() {
		columns := strings.Fields(lines.Text())
		if len(columns) < 8 {
			continue
		}
		destination, err := hex.DecodeString(columns[1])
		if err != nil || len(destination) != 4 {
			return nil, fmt.Errorf("unable to read the routing table: destination %q", columns[1])
		}
		mask, err := hex.DecodeString(columns[7])
		if err != nil || len(mask) != 4 {
			return nil, fmt.Errorf("unable to read the routing table: mask %q", columns[7])
		}
		var address [4]byte
		binary.NativeEndian.PutUint32(address[:], binary.BigEndian.Uint32(destination))
		var netmask [4]byte
		binary.NativeEndian.PutUint32(netmask[:], binary.BigEndian.Uint32(mask))
		if bits, _ := net.IPMask(netmask[:]).Size(); bits > 0 {
			routes = append(routes, netip.PrefixFrom(netip.AddrFrom4(address), bits).Masked())
		}
	}
	return routes, lines.Err()
}

// whyLoopback says why no namespace can be had here; empty if one can.
func whyLoopback() string {
	if os.Geteuid() != 0 {
		return "only root can make a network namespace; run it as root"
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return "the ip command is missing; install iproute2"
	}
	return ""
}

// newNetwork makes the network that the launcher's children will live in. With an error it may return half a network, which
// has to be removed.
func newNetwork(l *launcher) (*network, error) {
	reason := whyLoopback()
	if reason != "" {
		return newLoopback(reason)
	}
	if err := l.do(func() error { return unix.Unshare(unix.CLONE_NEWNET) }); err != nil {
		return newLoopback(fmt.Sprintf("the kernel refused a network namespace (%v)", err))
	}
	return newNamespace(l)
}

func newLoopback(reason string) (*network, error) {
	loopback := netip.MustParseAddr("127.0.0.1")
	n := &network{Mode: modeLoopback, Inside: loopback, Outside: loopback, NodeProxyReason: reason}
	var listeners []net.Listener
	defer func() {
		for _, listener := range listeners {
			listener.Close()
		}
	}()
	for _, port := range []*int{
		&n.ports.apiserver, &n.ports.controllerManager, &n.ports.scheduler, &n.ports.etcd, &n.ports.etcdPeer, &n.ports.etcdMetrics,
	} {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("unable to find a free port: %w", err)
		}
		listeners = append(listeners, listener)
		*port = listener.Addr().(*net.TCPAddr).Port
	}
	return n, nil
}

// newNamespace connects the launcher's fresh namespace to the ordinary one by a veth pair.
func newNamespace(l *launcher) (*network, error) {
	n := &network{
		Mode:      modeNamespace,
		Namespace: fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), l.thread),
		ports:     ports{apiserver: 6443, controllerManager: 10257, scheduler: 10259, etcd: 2379, etcdPeer: 2380, etcdMetrics: 2381},
	}

	// From looking for a free subnet until it is in use nobody else may look.
	lock, err := lockFile("/run/outrigger-controlplane.lock", true)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	taken, err := takenSubnets()
	if err != nil {
		return nil, err
	}
	// A random start makes it unlikely that a cluster gets the address of one that was there before it, whose
	// discovery data a kubectl still has in its cache.
	subnet, err := chooseSubnet(rand.Uint32(), taken)
	if err != nil {
		return nil, err
	}
	n.Subnet = subnet.String()
	n.Outside = subnet.Addr().Next()
	n.Inside = n.Outside.Next()
	octets := subnet.Addr().As4()
	n.Interface = fmt.Sprintf("outrig%d-%d", octets[1], octets[2])

	withBits := func(address netip.Addr) string { return netip.PrefixFrom(address, subnetBits).String() }
	outside := [][]string{
		{"link", "add", n.Interface, "type", "veth", "peer", "name", "uplink", "netns", fmt.Sprint(l.thread)},
		{"addr", "add", withBits(n.Outside), "dev", n.Interface},
		{"link", "set", n.Interface, "up"},
	}
	inside := [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", withBits(n.Inside), "dev", "uplink"},
		{"link", "set", "uplink", "up"},
		{"route", "add", "default", "via", n.Outside.String()},
	}
	for _, args := range outside {
		if err := ip(args); err != nil {
			return n, err
		}
	}
	for _, args := range inside {
		if err := l.do(func() error { return ip(args) }); err != nil {
			return n, err
		}
	}
	n.checkWayOut(l)
	return n, nil
}

// checkWayOut finds out whether a host in the ordinary namespace can be reached from inside, which a firewall may forbid.
func (n *network) checkWayOut(l *launcher) {
	listener, err := net.Listen("tcp4", netip.AddrPortFrom(n.Outside, 0).String())
	if err != nil {
		n.NodeProxyReason = fmt.Sprintf("unable to listen at %v: %v", n.Outside, err)
		return
	}
	defer listener.Close()
	err = l.do(func() error {
		connection, err := net.DialTimeout("tcp4", listener.Addr().String(), 3*time.Second)
		if err == nil {
			connection.Close()
		}
		return err
	})
	if err != nil {
		n.NodeProxyReason = fmt.Sprintf("the API server can't reach %v, probably for a firewall: %v", n.Outside, err)
		return
	}
	n.NodeProxy = true
}

// remove deletes the veth pair, if the kernel has not done so already.
func (n *network) remove() error {
	if n.Interface == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join("/sys/class/net", n.Interface)); os.IsNotExist(err) {
		return nil
	}
	return ip([]string{"link", "del", n.Interface})
}

func ip(args []string) error {
	if output, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("unable to set up the network: ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}

// lockFile opens a file and takes its lock, waiting for it or not. Closing the file, or dying, releases it. One that was
// removed by its last holder in the meantime does not exist: os.ErrNotExist.
func lockFile(path string, wait bool) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for {
		if err = syscall.Flock(int(file.Fd()), how); err != syscall.EINTR {
			break
		}
	}
	if err == nil {
		err = stillAt(path, file)
	}
	if err != nil {
		file.Close()
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return file, nil
}

// stillAt says whether an open file is the one that its path names.
func stillAt(path string, file *os.File) error {
	held, err := file.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(path)
	if err == nil && !os.SameFile(held, named) {
		err = os.ErrNotExist
	}
	return err
}

// eventually asks until the answer is yes, and gives up at the deadline.
func eventually(deadline time.Time, done func() bool) bool {
	for !done() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}
