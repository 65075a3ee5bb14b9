//go:build localstack

package localstack

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// guard stands before LocalStack's bucket and does what the community's LocalStack leaves out: it checks signatures, session tokens and
// their end, and the role's policy, and answers as S3 does.
type guard struct {
	*httptest.Server
	policy policy

	mu      sync.Mutex // guards all below
	issued  map[string]*issue
	denials []string // requests that the policy forbids
}

// issue is one set of temporary credentials of the role.
type issue struct {
	holder  string // who got them
	keys    aws.Credentials
	expires time.Time
	used    int // requests let through
	late    int // requests refused because they had expired
}

func newGuard(t *testing.T, target string, p policy) *guard {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	g := &guard{policy: p, issued: map[string]*issue{}}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: g.hide,
		// LocalStack ends while agents are still asking: they are told so, nobody else needs to be.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, code := g.judge(r); code != "" {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>the guard says so</Message></Error>", code)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// admit lets holder's requests through that are signed with keys, until expires.
func (g *guard) admit(holder string, keys aws.Credentials, expires time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.issued[keys.AccessKeyID] = &issue{holder: holder, keys: keys, expires: expires}
}

// retire ends all that holder was issued but the newest.
func (g *guard) retire(holder string, newest aws.Credentials) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, i := range g.issued {
		if i.holder == holder && id != newest.AccessKeyID {
			i.expires = time.Now()
		}
	}
}

// usage tells how many of holder's credentials have been used, and how many requests came with expired ones.
func (g *guard) usage(holder string) (used, late int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, i := range g.issued {
		if i.holder == holder && i.used > 0 {
			used++
		}
		if i.holder == holder {
			late += i.late
		}
	}
	return used, late
}

// forbidden answers the requests that the policy forbade since it was asked last.
func (g *guard) forbidden() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	denials := g.denials
	g.denials = nil
	return denials
}

// judge answers the code of S3's error for a request that must not pass, else "".
func (g *guard) judge(r *http.Request) (status int, code string) {
	id, scope, signed := credential(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.issued[id]
	switch {
	case i == nil:
		return http.StatusForbidden, "InvalidAccessKeyId"
	case r.Header.Get("X-Amz-Security-Token") != i.keys.SessionToken:
		return http.StatusBadRequest, "InvalidToken"
	case !time.Now().Before(i.expires):
		i.late++
		return http.StatusBadRequest, "ExpiredToken"
	case !authentic(r, i.keys, scope, signed):
		return http.StatusForbidden, "SignatureDoesNotMatch"
	}
	requests, err := intents(r)
	if err != nil {
		return http.StatusBadRequest, "MalformedXML"
	}
	for _, w := range requests {
		if !g.policy.allows(w.action, w.resource, w.context) {
			g.denials = append(g.denials, w.action+" "+w.resource)
			return http.StatusForbidden, "AccessDenied"
		}
	}
	i.used++
	return 0, ""
}

// hide does what S3 does with a missing object: who may not list its name is not told that it is missing. S3 asks for s3:ListBucket with the
// object's name as s3:prefix (Ceph's s3-tests, test_head_object_404_with_policy_prefix, hold other stores to it).
func (g *guard) hide(r *http.Response) error {
	bucket, key := place(r.Request)
	if r.StatusCode != http.StatusNotFound || key == "" || g.policy.allows("s3:ListBucket", "arn:aws:s3:::"+bucket, map[string]string{"s3:prefix": key}) {
		return nil
	}
	body := "<Error><Code>AccessDenied</Code></Error>"
	_ = r.Body.Close()
	r.StatusCode, r.Status = http.StatusForbidden, "403 Forbidden"
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Length", fmt.Sprint(len(body)))
	return nil
}

// credential takes the Authorization header apart: access key, region, and the names of the signed headers.
func credential(r *http.Request) (id, region string, signed []string) {
	header, _ := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			if scope := strings.Split(value, "/"); len(scope) == 5 {
				id, region = scope[0], scope[2]
			}
		case "SignedHeaders":
			signed = strings.Split(value, ";")
		}
	}
	return id, region, signed
}

// authentic signs the request again and compares.
func authentic(r *http.Request, keys aws.Credentials, region string, signed []string) bool {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || !slices.Contains(signed, "host") {
		return false
	}
	again := &http.Request{Method: r.Method, Host: r.Host, Header: http.Header{}}
	again.URL = &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	for _, name := range signed {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	err = signer.SignHTTP(r.Context(), keys, again, r.Header.Get("X-Amz-Content-Sha256"), "s3", region, at)
	return err == nil && again.Header.Get("Authorization") == r.Header.Get("Authorization")
}

// intent is one thing that a request wants to do.
type intent struct {
	action, resource string
	context          map[string]string
}

// intents names what a request wants as IAM does. What it does not know gets a name that no policy allows.
func intents(r *http.Request) ([]intent, error) {
	bucket, key := place(r)
	arn := "arn:aws:s3:::" + bucket
	query := r.URL.Query()
	single := func(action, resource string, context map[string]string) ([]intent, error) {
		return []intent{{action, resource, context}}, nil
	}
	switch {
	case key != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) && onlySDK(query):
		return single("s3:GetObject", arn+"/"+key, nil)
	case key != "" && r.Method == http.MethodPut && onlySDK(query):
		return single("s3:PutObject", arn+"/"+key, nil)
	case key != "" && r.Method == http.MethodDelete && onlySDK(query):
		return single("s3:DeleteObject", arn+"/"+key, nil)
	case key == "" && r.Method == http.MethodGet && query.Get("list-type") == "2":
		context := map[string]string{}
		if query.Has("prefix") {
			context["s3:prefix"] = query.Get("prefix")
		}
		return single("s3:ListBucket", arn, context)
	case key == "" && r.Method == http.MethodPost && query.Has("delete"):
		return deletions(r, arn)
	}
	return single(r.Method+" "+r.URL.String(), arn, nil)
}

// onlySDK tells whether a query has nothing but what the SDK says of itself: anything else, as ?acl, is another action.
func onlySDK(query url.Values) bool { return len(query) == 0 || len(query) == 1 && query.Has("x-id") }

func deletions(r *http.Request, arn string) (all []intent, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 4<<20))
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var wanted struct {
		Object []struct{ Key string }
	}
	if err := xml.Unmarshal(body, &wanted); err != nil {
		return nil, err
	}
	for _, o := range wanted.Object {
		all = append(all, intent{action: "s3:DeleteObject", resource: arn + "/" + o.Key})
	}
	return all, nil
}

// place is the bucket and the key of a request in path style.
func place(r *http.Request) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return bucket, key
}
