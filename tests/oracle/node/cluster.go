package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// cluster is what has to be known of a control plane: its cluster.json.
type cluster struct {
	Ready               bool   `json:"ready"`
	Server              string `json:"server"`
	CAFile              string `json:"caFile"`
	KubeletClientCAFile string `json:"kubeletClientCAFile"`
	Network             struct {
		Namespace string `json:"netns"`
		Inside    string `json:"insideAddress"`
	} `json:"network"`
}

func readCluster(dir string) (*cluster, error) {
	data, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if err != nil {
		return nil, fmt.Errorf("unable to find the control plane: %w", err)
	}
	c := &cluster{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("unable to read cluster.json: %w", err)
	}
	if !c.Ready {
		return nil, errors.New("unable to use the control plane: it is not ready")
	}
	if c.Network.Namespace == "" {
		return nil, impossibleError{errors.New("the control plane has no network namespace of its own, in which a kubelet could be without touching this machine's network")}
	}
	return c, nil
}

// pki is the path of a file beside the cluster's authority.
func (c *cluster) pki(file string) string { return filepath.Join(filepath.Dir(c.CAFile), file) }

// administrator is a client of the API server that may do everything.
type administrator struct {
	client *http.Client
	server string
}

func (c *cluster) administrator() (*administrator, error) {
	pair, err := tls.LoadX509KeyPair(c.pki("admin.crt"), c.pki("admin.key"))
	if err != nil {
		return nil, fmt.Errorf("unable to read the administrator's certificate: %w", err)
	}
	ca, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("unable to read the cluster's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("unable to read the cluster's authority: there is no certificate in it")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}
	return &administrator{client: &http.Client{Timeout: 5 * time.Second, Transport: transport}, server: c.Server}, nil
}

// do sends a request and reads a JSON answer.
func (a *administrator) do(ctx context.Context, method, path string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, a.server+path, nil)
	if err != nil {
		return err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return json.Unmarshal(body, answer)
}

// isReady says whether a node's condition Ready is true, and otherwise what keeps it.
func (a *administrator) isReady(ctx context.Context, name string) error {
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := a.do(ctx, http.MethodGet, "/api/v1/nodes/"+name, &node); err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" {
			if condition.Status == "True" {
				return nil
			}
			return errors.New(condition.Message)
		}
	}
	return errors.New("it has no condition Ready yet")
}

// forget deletes the node's object.
func (a *administrator) forget(ctx context.Context, name string) error {
	return a.do(ctx, http.MethodDelete, "/api/v1/nodes/"+name, &struct{}{})
}
