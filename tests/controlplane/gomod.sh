#!/bin/sh
# Writes go.mod and go.sum for one version of Kubernetes: gomod.sh v1.37.2 [DIRECTORY]
#
# k8s.io/kubernetes requires its staging modules (k8s.io/api and thirty more) at v0.0.0 and replaces them by folders of its
# own repository. Replacements of a dependency do not count, so that a module that depends on it must name each itself.
set -eu
version=$1
dir=${2:-$(dirname "$0")}
case $version in
v1.*.*) staging=v0.${version#v1.} ;;
*) echo "gomod.sh: want a version such as v1.37.2, not \"$version\"" >&2; exit 64 ;;
esac

cd "$dir"
upstream=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
{
	echo "// Written by gomod.sh $version; do not edit."
	echo "module outrigger.dev/tests/controlplane"
	echo
	sed -n '/^go /p' "$upstream"
	echo
	echo "require k8s.io/kubernetes $version"
	echo
	echo "replace ("
	sed -n "s|^\t\(k8s.io/[^ ]*\) => ./staging/.*|\t\1 => \1 $staging|p" "$upstream"
	echo ")"
	echo
	# Versions that Kubernetes itself was built and tested with, so that tidy picks no others.
	sed -n '/^require (/,/^)/p' "$upstream" | sed "s| v0\.0\.0$| $staging|"
} >go.mod
rm -f go.sum
go mod tidy >tidy.log 2>&1 || { cat tidy.log >&2; exit 1; }
rm tidy.log
