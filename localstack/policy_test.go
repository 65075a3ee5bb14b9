//go:build localstack

package localstack

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// policy is what this package understands of an IAM policy: statements that allow, with conditions on strings. Anything else is an
// error, so that no statement is overlooked.
type policy struct{ Statement []statement }

type statement struct {
	Sid       string
	Effect    string
	Action    oneOrMore
	Resource  oneOrMore
	Condition map[string]map[string]oneOrMore // by operator and key
}

// oneOrMore is a string or a list of strings.
type oneOrMore []string

func (l *oneOrMore) UnmarshalJSON(text []byte) error {
	var single string
	if json.Unmarshal(text, &single) == nil {
		*l = oneOrMore{single}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(l))
}

// readPolicy reads the document that init gives the role.
func readPolicy(bucket, prefix string) (policy, error) {
	text, err := os.ReadFile("init/ready.d/policy.json")
	if err != nil {
		return policy{}, err
	}
	names := map[string]string{"bucket": bucket, "prefix": prefix}
	return parsePolicy(os.Expand(string(text), func(name string) string { return names[name] }))
}

func parsePolicy(text string) (p policy, err error) {
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return p, fmt.Errorf("policy: %w", err)
	}
	for _, s := range p.Statement {
		if s.Effect != "Allow" || len(s.Action) == 0 || len(s.Resource) == 0 {
			return p, fmt.Errorf("policy: statement %q does not simply allow", s.Sid)
		}
		for operator := range maps.Keys(s.Condition) {
			if operator != "StringLike" {
				return p, fmt.Errorf("policy: statement %q has the condition %s", s.Sid, operator)
			}
		}
	}
	return p, nil
}

// allows tells whether a request may do action on resource; context holds what conditions may ask about it.
func (p policy) allows(action, resource string, context map[string]string) bool {
	return slices.ContainsFunc(p.Statement, func(s statement) bool {
		return s.Action.match(action) && s.Resource.match(resource) && s.holds(context)
	})
}

func (s statement) holds(context map[string]string) bool {
	for _, keys := range s.Condition { // StringLike
		for key, patterns := range keys {
			if value, there := context[key]; !there || !patterns.match(value) {
				return false
			}
		}
	}
	return true
}

// match tells whether a value is like one of the patterns, in which * stands for any characters and ? for one.
func (l oneOrMore) match(value string) bool {
	return slices.ContainsFunc(l, func(pattern string) bool {
		expr := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
		return regexp.MustCompile(`^(?s:` + expr + `)$`).MatchString(value)
	})
}

// TestPolicyIsWhatAgentsNeedAndNoMore: nothing outside of the prefix, no deletion of buckets, no other bucket.
func TestPolicyIsWhatAgentsNeedAndNoMore(t *testing.T) {
	p, err := readPolicy("bucket", "prefix")
	if err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:s3:::"
	prefix := func(value string) map[string]string { return map[string]string{"s3:prefix": value} }
	for _, c := range []struct {
		action, resource string
		context          map[string]string
		want             bool
	}{
		{"s3:GetObject", "bucket/prefix/leat/head", nil, true},
		{"s3:PutObject", "bucket/prefix/leat/head", nil, true},
		{"s3:DeleteObject", "bucket/prefix/leat/data/x", nil, true},
		{"s3:ListBucket", "bucket", prefix("prefix/leat/data/"), true},
		{"s3:ListBucket", "bucket", nil, false},
		{"s3:ListBucket", "bucket", prefix("other/"), false},
		{"s3:ListBucket", "bucket", prefix("prefix"), false},
		{"s3:ListBucket", "bucket2", prefix("prefix/"), false},
		{"s3:GetObject", "bucket/other/leat/head", nil, false},
		{"s3:GetObject", "bucket/prefixed/head", nil, false},
		{"s3:GetObject", "bucket2/prefix/leat/head", nil, false},
		{"s3:DeleteObject", "bucket/prefix", nil, false},
		{"s3:DeleteBucket", "bucket", nil, false},
		{"s3:PutBucketPolicy", "bucket", nil, false},
		{"s3:PutObjectAcl", "bucket/prefix/x", nil, false},
		{"s3:DeleteObjectVersion", "bucket/prefix/x", nil, false},
	} {
		if got := p.allows(c.action, arn+c.resource, c.context); got != c.want {
			t.Errorf("%s on %s with %v: allowed is %v", c.action, c.resource, c.context, got)
		}
	}
	for _, text := range []string{
		`{"Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]}`,
		`{"Statement": [{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}]}`,
		`{"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}]}`,
		`{"Statement": 7}`,
	} {
		if _, err := parsePolicy(text); err == nil {
			t.Errorf("%s is not understood and was taken", text)
		}
	}
}
