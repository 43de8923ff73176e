#!/bin/sh
# A real kubelet on a real containerd, as a node that tests ask what a kubelet does: builds it once, then runs its verbs. See
# README.md.
#
#   oracle.sh build                              build, if that has not been done yet, and print the path of the binary
#   oracle.sh up --cluster D --dir D [--name N]  start a node beside a control plane, print a JSON document about it, return
#   oracle.sh down --dir D                       take it down
#   oracle.sh run --cluster D --dir D            start one, take it down at ctrl-C, with --until-eof when its input ends
#
# Exit codes: 3 if this machine can't (no root, no Go, no packages), 64 for a wrong call, 1 for anything else that fails.
# Environment: CLUSTER_VERSION, as for tests/controlplane/cluster.sh; OUTRIGGER_CACHE, where builds are kept.
set -eu

# Where ip and Go usually are, which not every shell has in its path; and no workspace of somebody who has one above this.
PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin
export PATH GOWORK=off

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
controlplane=$here/../controlplane
version=$("$controlplane/cluster.sh" version)
containerd=v2.4.2

say() { echo "oracle.sh: $*" >&2; }

cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrigger}
hash=$(cd "$here" && cat kubelet/*.go node/go.mod node/*.go ../controlplane/gomod.sh oracle.sh | sha256sum | cut -c1-12)
directory=$cache/oracle-$version-$containerd-$hash
# Parts that take long and do not change with the rest.
kubelet=$cache/kubelet-$version-$(cd "$here" && cat kubelet/*.go ../controlplane/gomod.sh | sha256sum | cut -c1-12)
runtime=$cache/containerd-$containerd

# The modules' checksums are in Go's public log, which go mod and go install ask.
build_kubelet() {
	[ ! -x "$kubelet/kubelet" ] || return 0
	say "building the kubelet of Kubernetes $version into $cache: about 2 minutes on two cores after the control plane, 6 before it, once"
	rm -rf "$kubelet.next"
	mkdir -p "$kubelet.next"
	cp "$here/kubelet/main.go" "$kubelet.next"
	"$controlplane/gomod.sh" "$version" "$kubelet.next"
	minor=${version#v1.}
	flags=
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		flags="$flags -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
	done
	(cd "$kubelet.next" && CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -ldflags "$flags" -o kubelet .)
	rm -rf "$kubelet"
	mv "$kubelet.next" "$kubelet"
}

build_containerd() {
	[ ! -x "$runtime/ctr" ] || return 0
	say "building containerd $containerd into $cache: about 2 minutes on two cores, once"
	commands=github.com/containerd/containerd/v2/cmd
	CGO_ENABLED=0 GOFLAGS=-mod=readonly GOBIN=$runtime.next go install \
		"$commands/containerd@$containerd" "$commands/containerd-shim-runc-v2@$containerd" "$commands/ctr@$containerd"
	rm -rf "$runtime"
	mv "$runtime.next" "$runtime"
}

# Runs under the lock. The node finds all programs beside its own.
build_locked() {
	[ ! -x "$directory/oracle" ] || return 0
	if ! command -v go >/dev/null; then
		say "building a kubelet and containerd takes Go, and there is none here; install it from https://go.dev/dl/"
		exit 3
	fi
	build_kubelet
	build_containerd
	rm -rf "$directory.next"
	mkdir -p "$directory.next"
	ln "$kubelet/kubelet" "$runtime/containerd" "$runtime/containerd-shim-runc-v2" "$runtime/ctr" "$directory.next"
	(cd "$here/node" && CGO_ENABLED=0 go build -buildvcs=false -o "$directory.next/oracle" .)
	rm -rf "$directory"
	mv "$directory.next" "$directory"
	# Builds of older sources, once no node can be running on them any more.
	find "$cache" -maxdepth 1 \( -name 'oracle-v*' -o -name 'kubelet-v*' -o -name 'containerd-v*' \) -mtime +7 -exec rm -rf {} +
}

# What containers take of the system, installed where that is ours to do.
install_packages() {
	missing=
	command -v runc >/dev/null || missing="$missing runc"
	# One that brings no libraries with it is of no use to an image.
	if ! command -v busybox >/dev/null || head -c 4096 "$(command -v busybox)" | grep -q ld-linux; then
		missing="$missing busybox-static"
	fi
	command -v ip >/dev/null || missing="$missing iproute2"
	command -v nsenter >/dev/null || missing="$missing util-linux"
	[ -e /usr/lib/cni/bridge ] || [ -e /usr/libexec/cni/bridge ] || [ -e /opt/cni/bin/bridge ] || missing="$missing containernetworking-plugins"
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		say "a node needs$missing; install them (these are Debian's names) and run this as root"
		exit 3
	fi
	say "installing$missing"
	apt-get update -qq
	# shellcheck disable=SC2086 # names of packages
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
}

build() {
	if [ "$(id -u)" != 0 ]; then
		say "only root can run a kubelet with containers; run this as root"
		exit 3
	fi
	mkdir -p "$cache"
	(
		flock 9
		install_packages 9>&-
		build_locked 9>&-
	) 9>"$cache/oracle.lock" >&2
	touch "$directory" "$kubelet" "$runtime"
}

verb=${1:-}
case $verb in
build)
	build
	echo "$directory/oracle"
	exit # before a shell reads on in a file that may have changed meanwhile
	;;
up | run | down)
	build
	exec "$directory/oracle" "$@"
	;;
*)
	sed -n '2,/^$/s/^# \{0,1\}//p' "$0" | sed '/^set -eu/d' >&2
	exit 64
	;;
esac
