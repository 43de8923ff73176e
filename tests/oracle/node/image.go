package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// The images that a node has. There is no registry: what a pod names beside these can't be pulled. Tests run the same pods
// on virtual nodes, whose images have this name.
const (
	appImage   = "registry.example/app:1"
	pauseImage = "registry.example/pause:1"
)

// untilTerm runs until it is told to end, and ends well; the first process of a container hears only what it asks for.
const untilTerm = `trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done`

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// archive is an OCI image layout in the making.
type archive struct {
	blobs  map[string][]byte
	images []descriptor
}

// writeImages writes one archive with all images, made of a static busybox. The same busybox makes the same bytes.
func writeImages(path, busybox string) error {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("unable to read busybox: %w", err)
	}
	list, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("unable to list what busybox can: %w", err)
	}
	layer, err := rootFilesystem(program, strings.Fields(string(list)))
	if err != nil {
		return fmt.Errorf("unable to make the image's files: %w", err)
	}
	a := &archive{blobs: map[string][]byte{}}
	if err := a.add(appImage, layer, "/bin/sh", "-c", untilTerm); err != nil {
		return err
	}
	if err := a.add(pauseImage, layer, "/bin/sleep", "2147483647"); err != nil {
		return err
	}
	return a.write(path)
}

func rootFilesystem(busybox []byte, applets []string) ([]byte, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, name := range []string{"bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	files := []struct {
		name    string
		mode    int64
		content []byte
	}{
		{"bin/busybox", 0o755, busybox},
		{"etc/group", 0o644, []byte("root:x:0:\nuser:x:1000:\n")},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n")},
	}
	for _, file := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: file.name, Mode: file.mode, Size: int64(len(file.content))}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(file.content); err != nil {
			return nil, err
		}
	}
	slices.Sort(applets)
	for _, applet := range slices.Compact(applets) {
		if applet == "busybox" {
			continue
		}
		header := &tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buffer.Bytes(), err
}

func (a *archive) blob(mediaType string, content []byte) descriptor {
	sum := sha256.Sum256(content)
	name := hex.EncodeToString(sum[:])
	a.blobs[name] = content
	return descriptor{MediaType: mediaType, Digest: "sha256:" + name, Size: len(content)}
}

func (a *archive) object(mediaType string, content map[string]any) (descriptor, error) {
	encoded, err := json.Marshal(content)
	return a.blob(mediaType, encoded), err
}

// add adds an image of one layer that runs a command.
func (a *archive) add(name string, layer []byte, command ...string) error {
	files := a.blob("application/vnd.oci.image.layer.v1.tar", layer)
	config, err := a.object("application/vnd.oci.image.config.v1+json", map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Cmd": command, "Env": []string{"PATH=/bin:/usr/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{files.Digest}},
	})
	if err != nil {
		return err
	}
	manifestType := "application/vnd.oci.image.manifest.v1+json"
	manifest, err := a.object(manifestType, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": []descriptor{files},
	})
	if err != nil {
		return err
	}
	// Where containerd takes an image's whole name from.
	manifest.Annotations = map[string]string{"io.containerd.image.name": name}
	a.images = append(a.images, manifest)
	return nil
}

func (a *archive) write(path string) error {
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": a.images})
	if err != nil {
		return err
	}
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": index}
	names := []string{"oci-layout", "index.json"}
	for name, content := range a.blobs {
		files["blobs/sha256/"+name] = content
		names = append(names, "blobs/sha256/"+name)
	}
	slices.Sort(names[2:])
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, name := range names {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name]))}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(files[name]); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, buffer.Bytes(), 0o600)
}
