package s3

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	// rereadAfter is how old credentials without an expiry of their own (from files and the environment) may get before the
	// chain is read again: the SDK itself would keep them until the process ends. Also how soon a denial of credentials that
	// do expire, or a failure to get any, makes the chain be read again at the earliest.
	rereadAfter = time.Minute
	// rereadPause is how soon a denial of credentials without an expiry makes them be read again at the earliest.
	rereadPause = time.Second
)

// rotating is a provider of credentials for processes that live longer than their credentials. What expires by itself (roles,
// web identity, containers, instances) the chain's own provider renews; what does not is read again every so often, and
// after a denial. If reading fails the old credentials stay in use: the file may be half written.
type rotating struct {
	load func(context.Context) (aws.CredentialsProvider, error)
	now  func() time.Time

	mu       sync.Mutex // guards all below; never held while anything is read
	provider aws.CredentialsProvider
	loaded   time.Time // when reading provider began
	static   bool      // whether the credentials of provider have no expiry
	denied   bool      // whether the store has refused them since, or there are none
}

func newRotating(
	first aws.CredentialsProvider, load func(context.Context) (aws.CredentialsProvider, error),
) *rotating {
	return &rotating{load: load, now: time.Now, provider: first, loaded: time.Now()}
}

// Retrieve implements aws.CredentialsProvider. The SDK calls it for each request; the providers of the chain keep what
// they have until it expires.
func (r *rotating) Retrieve(ctx context.Context) (aws.Credentials, error) {
	provider, stale := r.current()
	if stale {
		if fresh, ok := r.reread(ctx); ok {
			return fresh, nil
		}
	}
	c, err := provider.Retrieve(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.provider == provider {
		r.static = err == nil && !c.CanExpire
		r.denied = r.denied || err != nil
	}
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("no credentials: %w", err)
	}
	return c, nil
}

// current answers the provider, and whether the caller is the one who is to read the chain again.
func (r *rotating) current() (p aws.CredentialsProvider, stale bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	age := r.now().Sub(r.loaded)
	stale = (r.static || r.denied) && age >= rereadAfter || r.static && r.denied && age >= rereadPause
	if stale {
		r.loaded = r.now() // others go on with the old ones meanwhile, and after a failure
	}
	return r.provider, stale
}

// reread reads the chain again and answers its credentials.
func (r *rotating) reread(ctx context.Context) (aws.Credentials, bool) {
	provider, err := r.load(ctx)
	if err != nil {
		return aws.Credentials{}, false
	}
	c, err := provider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.provider, r.static, r.denied = provider, !c.CanExpire, false
	return c, true
}

// suspect notes that the store refused the credentials.
func (r *rotating) suspect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.denied = true
}
