package minio

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// rereadAfter is how old credentials without an expiry of their own (from files and the environment) may get before the
	// chain is read again: minio-go itself would keep them until the process ends. Also how soon a denial of credentials
	// that do expire makes the chain be read again at the earliest.
	rereadAfter = time.Minute
	// rereadPause is how soon a denial of credentials without an expiry makes them be read again at the earliest.
	rereadPause = time.Second
)

// rotating is a provider of credentials for processes that live longer than their credentials: the first of MINIO_ACCESS_KEY
// and MINIO_SECRET_KEY, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the shared AWS files, and the roles of web identity,
// containers and instances. What expires by itself is renewed in time; what does not is read again every so often, and after
// a denial. If reading fails, credentials that had no expiry stay in use: the file may be half written.
type rotating struct {
	chain func() []credentials.Provider
	now   func() time.Time

	mu      sync.Mutex // guards all below; never held while anything is read
	value   credentials.Value
	source  credentials.Provider // of value; nil before the first
	loaded  time.Time            // when value was read
	suspect bool                 // whether the store has refused value since
}

func newRotating() *rotating {
	return &rotating{now: time.Now, chain: func() []credentials.Provider {
		return []credentials.Provider{
			&credentials.EnvMinio{}, &credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
		}
	}}
}

// IsExpired implements credentials.Provider.
func (r *rotating) IsExpired() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source == nil {
		return true
	}
	age := r.now().Sub(r.loaded)
	if r.static() {
		return age >= rereadAfter || r.suspect && age >= rereadPause
	}
	return r.source.IsExpired() || r.suspect && age >= rereadAfter
}

// static reports whether the value has no expiry. The caller holds mu.
func (r *rotating) static() bool { return r.value.Expiration.IsZero() }

// Retrieve implements credentials.Provider.
func (r *rotating) Retrieve() (credentials.Value, error) { return r.RetrieveWithCredContext(nil) }

// RetrieveWithCredContext implements credentials.Provider. Minio-go calls it one at a time.
func (r *rotating) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	value, source, err := r.read(cc)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.value, r.source, r.suspect = value, source, false
	case r.source == nil || !r.static():
		return credentials.Value{}, fmt.Errorf("no credentials: %w", err)
	}
	r.loaded = r.now()
	return r.value, nil
}

// read asks the chain.
func (r *rotating) read(cc *credentials.CredContext) (credentials.Value, credentials.Provider, error) {
	var failures error
	for _, p := range r.chain() {
		v, err := p.RetrieveWithCredContext(cc)
		if err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			return v, p, nil
		}
		failures = errors.Join(failures, err)
	}
	if failures == nil {
		failures = errors.New("set MINIO_ACCESS_KEY and MINIO_SECRET_KEY, or what the AWS chain reads")
	}
	return credentials.Value{}, nil, &oneLine{failures}
}

// oneLine prints joined errors on one line.
type oneLine struct{ error }

func (e *oneLine) Unwrap() error { return e.error }

func (e *oneLine) Error() string {
	line := []byte(e.error.Error())
	for i, c := range line {
		if c == '\n' {
			line[i] = ';'
		}
	}
	return string(line)
}

// deny notes that the store refused the credentials.
func (r *rotating) deny() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suspect = true
}
