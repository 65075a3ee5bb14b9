package etcd

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestURLsThatAreUnderstood(t *testing.T) {
	for url, want := range map[string]Config{
		"etcd://a:1/leat":                {Endpoints: []string{"a:1"}, Prefix: "/leat", Compact: true},
		"etcd://a:1,b:2,c:3/x/y/":        {Endpoints: []string{"a:1", "b:2", "c:3"}, Prefix: "/x/y", Compact: true},
		"etcd://a,[::1]:5,[::2]/p":       {Endpoints: []string{"a:2379", "[::1]:5", "[::2]:2379"}, Prefix: "/p", Compact: true},
		"etcd://a/p?compact=false":       {Endpoints: []string{"a:2379"}, Prefix: "/p"},
		"etcds://a/p":                    {Endpoints: []string{"a:2379"}, Prefix: "/p", TLS: true, Compact: true},
		"etcds://a/p?ca=/c&cert=d&key=e": {Endpoints: []string{"a:2379"}, Prefix: "/p", TLS: true, CA: "/c", Cert: "d", Key: "e", Compact: true},
	} {
		if got, err := ParseURL(url); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", url, got, err)
		}
	}
}

func TestURLsThatAreRefused(t *testing.T) {
	for url, reason := range map[string]string{
		"":                              "etcd",
		"bolt:///x":                     "etcd",
		"etcd:a/p":                      "etcd",
		"etcd://a":                      "prefix",
		"etcd://a,b/":                   "prefix",
		"etcd:///p":                     "host:port",
		"etcd://a,,b/p":                 "host:port",
		"etcd://a:/p":                   "host:port",
		"etcd://:1/p":                   "host:port",
		"etcd://a:b:c/p":                "host:port",
		"etcd://me:secret@a:1/p":        EnvPassword,
		"etcd://a/p?ca=x":               "etcds://",
		"etcds://a/p?cert=x":            "go together",
		"etcd://a/p?compact=no":         "compact",
		"etcd://a/p?nonsense=1":         "nonsense",
		"etcd://a/p?%zz":                "question mark",
		"etcd://a/%zz":                  "path",
		"etcd://a/p#x":                  "#",
		"etcds://a/p?ca=x&unheard_of=1": "unheard_of",
	} {
		_, err := ParseURL(url)
		if !errors.Is(err, ErrURL) || !strings.Contains(err.Error(), reason) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", url, err, reason)
		}
		if _, err := Open(t.Context(), url); !errors.Is(err, ErrURL) {
			t.Errorf("open %q: %v", url, err)
		}
	}
}
