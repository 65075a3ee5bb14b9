package api

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/leat-stream/leat/agent/api/versions"
	"github.com/leat-stream/leat/agent/batch"
	"github.com/leat-stream/leat/agent/topicconfig"
	"github.com/leat-stream/leat/agent/topics"
	"github.com/leat-stream/leat/metadata"
	"github.com/leat-stream/leat/metadata/state"
)

func TestEveryAnnouncedCallHasAHandlerAndNoOtherHas(t *testing.T) {
	announced := map[int16]bool{}
	for _, v := range versions.Announced() {
		announced[v.Key] = true
		if !Served(v.Key) {
			t.Errorf("%s is announced and has no handler", v.Name)
		}
	}
	for key := range handlers {
		if !announced[key] {
			t.Errorf("key %d has a handler and is not announced", key)
		}
	}
	if Served(999) {
		t.Error("key 999 is served")
	}
}

// declared parses a package and yields its exported names that match.
func declared(t *testing.T, dir string, visit func(name string, value ast.Expr, kind token.Token)) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), dir+"/"+e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && (g.Tok == token.VAR || g.Tok == token.CONST) {
				for _, spec := range g.Specs {
					v := spec.(*ast.ValueSpec)
					for i, name := range v.Names {
						var value ast.Expr
						if i < len(v.Values) {
							value = v.Values[i]
						}
						if name.IsExported() {
							visit(name.Name, value, g.Tok)
						}
					}
				}
			}
		}
	}
}

// TestEverySentinelIsMapped walks over the sources of the packages that handlers call: no error of theirs may become
// UNKNOWN_SERVER_ERROR by being forgotten.
func TestEverySentinelIsMapped(t *testing.T) {
	mapped := map[string]bool{}
	for _, s := range sentinels {
		mapped[s.err.Error()] = true
	}
	found := 0
	for _, dir := range []string{"../produce", "../fetch", "../group", "../../metadata"} {
		declared(t, dir, func(name string, value ast.Expr, kind token.Token) {
			call, ok := value.(*ast.CallExpr)
			if kind != token.VAR || !strings.HasPrefix(name, "Err") || !ok {
				return
			}
			text, err := strconv.Unquote(call.Args[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found++
			if !mapped[text] {
				t.Errorf("%s.%s is not mapped", dir, name)
			}
		})
	}
	if found < 25 {
		t.Errorf("only %d sentinels found", found)
	}
}

func TestEveryKindAndCodeIsMapped(t *testing.T) {
	kinds := 0
	declared(t, "../topics", func(name string, _ ast.Expr, kind token.Token) {
		if kind == token.CONST && strings.HasPrefix(name, "Kind") {
			kinds++
		}
	})
	if kinds != len(topicKinds) {
		t.Errorf("%d of %d kinds of topic errors are mapped", len(topicKinds), kinds)
	}
	for _, c := range []state.Code{ // what Apply says about a batch
		state.CodeUnknownTopic, state.CodeOutOfOrderSequence, state.CodeUnknownProducer, state.CodeInvalidEpoch,
		state.CodeDuplicateSequence, state.CodeInvalid,
	} {
		if stateCode(c) == kerr.UnknownServerError.Code {
			t.Errorf("%s is not mapped", c)
		}
	}
}

func TestErrorsKeepTheirMeaningThroughWrapping(t *testing.T) {
	for _, tt := range []struct {
		err         error
		code, admin *kerr.Error
	}{
		{nil, nil, nil},
		{fmt.Errorf("x: %w", &topics.Error{Kind: topics.KindExists}), kerr.TopicAlreadyExists, kerr.TopicAlreadyExists},
		{fmt.Errorf("x: %w", &topicconfig.Error{Kind: topicconfig.InvalidConfig}), kerr.InvalidConfig, kerr.InvalidConfig},
		{fmt.Errorf("x: %w", &topicconfig.Error{Kind: topicconfig.InvalidRequest}), kerr.InvalidRequest, kerr.InvalidRequest},
		{fmt.Errorf("x: %w", &batch.Error{Kind: batch.Corrupt}), kerr.CorruptMessage, kerr.CorruptMessage},
		{fmt.Errorf("x: %w", kerr.UnknownLeaderEpoch), kerr.UnknownLeaderEpoch, kerr.UnknownLeaderEpoch},
		// Certainly not applied wins over the reason: the client may try again at once.
		{fmt.Errorf("%w: %w", metadata.ErrNotApplied, context.Canceled), kerr.NotLeaderForPartition, kerr.NotController},
		{fmt.Errorf("%w: %w", metadata.ErrNotApplied, metadata.ErrSessionClosed), kerr.NotLeaderForPartition, kerr.NotController},
		{fmt.Errorf("%w: %w", metadata.ErrUnknown, context.Canceled), kerr.RequestTimedOut, kerr.RequestTimedOut},
		{fmt.Errorf("%w: %w", metadata.ErrTooLarge, metadata.ErrNotApplied), kerr.InvalidRequest, kerr.InvalidRequest},
		{errors.New("something else"), kerr.UnknownServerError, kerr.UnknownServerError},
	} {
		want := func(e *kerr.Error) int16 {
			if e == nil {
				return 0
			}
			return e.Code
		}
		if got, admin := code(tt.err), adminCode(tt.err); got != want(tt.code) || admin != want(tt.admin) {
			t.Errorf("%v: %s, for administrators %s", tt.err, errorName(got), errorName(admin))
		}
	}
}

// TestReadsThatAnEndingAgentCannotAnswerAreTriedAgain: an agent whose session was closed wakes everybody who waits for records, when its
// replica has ended. Whatever it answers then must be an error that consumers expect from a read.
func TestReadsThatAnEndingAgentCannotAnswerAreTriedAgain(t *testing.T) {
	w := newWorld(t)
	s := w.agent(metadata.Identity{Session: state.UUID{1}, NodeID: -1, Agent: "agent"}, nil)
	s.create("t", 1)
	waiting := edited(fetchOne(11, "t", 0, 0), func(r *kmsg.FetchRequest) { r.MaxWaitMillis, r.MinBytes = 20_000, 1 })
	finish := s.begin(waiting)
	w.end()
	w.parts.Wait()
	for _, got := range []kmsg.Response{
		s.decode(waiting, finish()), s.ask(fetchOne(11, "t", 0, 0)), s.ask(listOne(4, "t", 0, -1)), s.ask(epochOne(3, "t", 0, 0)),
	} {
		if said := strings.TrimPrefix(errorsOf(got), "ok "); said != "KAFKA_STORAGE_ERROR" {
			t.Errorf("%T is %q", got, said)
		}
	}
}
