package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTheLogHasTheFormatThatIsAskedFor(t *testing.T) {
	for format, right := range map[string]func(line string) bool{
		"text": func(line string) bool {
			return strings.HasPrefix(line, "time=") && strings.Contains(line, `msg="a b" key=1`)
		},
		"json": func(line string) bool {
			var v struct {
				Msg string
				Key int
			}
			return json.Unmarshal([]byte(line), &v) == nil && v.Msg == "a b" && v.Key == 1
		},
	} {
		o := defaults()
		o.logFormat = format
		var out strings.Builder
		log := logger(o, &out)
		log.Debug("too quiet for the default level")
		log.Info("a b", "key", 1)
		if lines := strings.Count(out.String(), "\n"); lines != 1 || !right(out.String()) {
			t.Errorf("%s: %s", format, &out)
		}
	}
}
