package cluster

import (
	"encoding/base64"
	"encoding/json"
	"os"
)

// credential is what a kubeconfig proves its user with: a client certificate and key, or a bearer token.
type credential struct {
	certFile, keyFile string
	token             string
}

// writeKubeconfig writes one with everything inside it, so that it can be copied anywhere. Every JSON document is a YAML
// document, which is all that clients ask of a kubeconfig.
func writeKubeconfig(path, server, caFile, user string, c credential) error {
	inline := func(file string) (string, error) {
		data, err := os.ReadFile(file)
		return base64.StdEncoding.EncodeToString(data), err
	}
	ca, err := inline(caFile)
	if err != nil {
		return err
	}
	auth := map[string]string{}
	if c.token != "" {
		auth["token"] = c.token
	} else {
		if auth["client-certificate-data"], err = inline(c.certFile); err != nil {
			return err
		}
		if auth["client-key-data"], err = inline(c.keyFile); err != nil {
			return err
		}
	}
	const name = "outrigger-test"
	type object = map[string]any
	document, err := json.MarshalIndent(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"clusters":        []object{{"name": name, "cluster": object{"server": server, "certificate-authority-data": ca}}},
		"users":           []object{{"name": user, "user": auth}},
		"contexts":        []object{{"name": name, "context": object{"cluster": name, "user": user}}},
		"current-context": name,
	}, "", "  ")
	if err != nil {
		return err
	}
	return writeAtomic(path, append(document, '\n'), 0o600)
}

// writeAtomic replaces a file whole, so that no reader ever sees half of it.
func writeAtomic(path string, data []byte, mode os.FileMode) error {
	next := path + ".next"
	if err := os.WriteFile(next, data, mode); err != nil {
		return err
	}
	return os.Rename(next, path)
}
