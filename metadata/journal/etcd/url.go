package etcd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// Config says where a journal is.
type Config struct {
	Endpoints []string // host:port; at least one
	Prefix    string   // of all keys of this journal: begins with a slash, does not end with one, and is never empty

	TLS           bool
	CA, Cert, Key string // PEM files; "" means the system's authorities, or no certificate of our own

	// Compact has Trim drop the history that etcd keeps of every key. Without it, etcd itself must be told to.
	Compact bool
}

// The environment variables with which a client proves to etcd who it is. They are not part of a URL, which is printed and
// logged.
const (
	EnvUser     = "LEAT_ETCD_USERNAME"
	EnvPassword = "LEAT_ETCD_PASSWORD"
)

// ErrURL: what was given is not the URL of a journal in etcd.
var ErrURL = errors.New("want etcd://host:port,host:port/prefix, or etcds://… for TLS with ?ca=FILE&cert=FILE&key=FILE")

// ParseURL reads etcd://host:port,host:port/prefix?compact=false, or etcds:// for TLS, with ca=, cert= and key= naming PEM files.
// Without a port it is 2379. A prefix must be named, one for every Leat cluster: two clusters below one prefix would be one
// journal. ErrURL, with the reason, in one line.
func ParseURL(s string) (Config, error) {
	c, err := parseURL(s)
	if err != nil {
		return Config{}, fmt.Errorf("journal %q: %w: %w", s, err, ErrURL)
	}
	return c, nil
}

func parseURL(s string) (Config, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || (scheme != "etcd" && scheme != "etcds") {
		return Config{}, errors.New("not the URL of an etcd")
	}
	c := Config{TLS: scheme == "etcds", Compact: true}
	hosts, rest := rest, ""
	if i := strings.IndexAny(hosts, "/?#"); i >= 0 {
		hosts, rest = hosts[:i], hosts[i:]
	}
	if strings.Contains(hosts, "@") {
		return c, fmt.Errorf("a URL is printed, so user and password go into %s and %s", EnvUser, EnvPassword)
	}
	for host := range strings.SplitSeq(hosts, ",") {
		endpoint, err := withPort(host)
		if err != nil {
			return c, err
		}
		c.Endpoints = append(c.Endpoints, endpoint)
	}
	u, err := url.Parse(rest) // commas between ports are nothing that it would take for a host
	if err != nil {
		return c, errors.New("the path or what follows it cannot be read")
	}
	if c.Prefix = strings.TrimRight(u.Path, "/"); c.Prefix == "" {
		return c, errors.New("the prefix of this cluster's keys is missing")
	}
	if u.Fragment != "" {
		return c, errors.New("nothing may follow a #")
	}
	return c, c.options(u)
}

// withPort checks host or host:port.
func withPort(host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil { // there is no port, or it is nonsense
		name, port, err = net.SplitHostPort(host + ":2379")
	}
	if err != nil || name == "" || port == "" {
		return "", fmt.Errorf("%q is no host:port", host)
	}
	return net.JoinHostPort(name, port), nil
}

// options reads what stands behind the question mark.
func (c *Config) options(u *url.URL) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("what follows the question mark cannot be read")
	}
	for name, values := range query {
		value := values[len(values)-1]
		switch name {
		case "ca", "cert", "key":
			if !c.TLS {
				return fmt.Errorf("%s= is for etcds://", name)
			}
			*map[string]*string{"ca": &c.CA, "cert": &c.Cert, "key": &c.Key}[name] = value
		case "compact":
			if value != "true" && value != "false" {
				return fmt.Errorf("compact=%s: want true or false", value)
			}
			c.Compact = value == "true"
		default:
			return fmt.Errorf("unknown option %s=", name)
		}
	}
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("cert= and key= go together")
	}
	return nil
}

// String names the journal in messages.
func (c Config) String() string { return strings.Join(c.Endpoints, ",") + c.Prefix }

// tls answers what connections are made with; nil without TLS. Certificate and key are read anew for every connection, so they
// may be replaced while an agent runs.
func (c Config) tls() (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	t, err := transport.TLSInfo{TrustedCAFile: c.CA, CertFile: c.Cert, KeyFile: c.Key}.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return t, nil
}

// credentials answers user and password; both are empty if etcd is to be asked without.
func credentials() (user, password string, err error) {
	user, password = os.Getenv(EnvUser), os.Getenv(EnvPassword)
	if (user == "") != (password == "") {
		return "", "", fmt.Errorf("%s and %s go together", EnvUser, EnvPassword)
	}
	return user, password, nil
}
