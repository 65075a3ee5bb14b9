package observe

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// dashboard is the part of dashboard.json that the tests look at.
type dashboard struct {
	UID        string
	Templating struct{ List []variable }
	Panels     []panel
}

type variable struct {
	Name, Type string
	Query      any // of a datasource: its type; else an object with the query
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	Datasource               source
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []target
}

type target struct {
	RefID      string
	Datasource source
	Expr       string
}

type source struct{ Type, UID string }

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// prometheusSource is the data source that people choose above the dashboard.
var prometheusSource = source{"prometheus", "${datasource}"}

// units are those of Grafana that the dashboard uses.
var units = []string{"none", "short", "s", "bytes", "Bps", "cps", "reqps", "percentunit"}

func TestTheDashboardIsWellFormed(t *testing.T) {
	d := readDashboard(t)
	if d.UID != "leat" {
		t.Errorf("uid %q: links to the dashboard would break", d.UID)
	}
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
	}
	if !slices.Equal(names, []string{"datasource", "cluster", "instance"}) {
		t.Errorf("variables %v", names)
	}
	ids, titles := map[int]bool{}, map[string]bool{}
	for i, p := range d.Panels {
		if ids[p.ID] || titles[p.Title] || p.Title == "" {
			t.Errorf("panel %d %q: its id or title is another's, or missing", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.Y < 0 || g.X+g.W > 24 {
			t.Errorf("panel %q is outside of the grid: %+v", p.Title, g)
		}
		for _, o := range d.Panels[:i] {
			if g.X < o.GridPos.X+o.GridPos.W && o.GridPos.X < g.X+g.W && g.Y < o.GridPos.Y+o.GridPos.H && o.GridPos.Y < g.Y+g.H {
				t.Errorf("panels %q and %q lie over each other", p.Title, o.Title)
			}
		}
		if p.Type != "row" {
			checkPanel(t, p)
		}
	}
}

func checkPanel(t *testing.T, p panel) {
	t.Helper()
	if p.Datasource != prometheusSource || !slices.Contains(units, p.FieldConfig.Defaults.Unit) || len(p.Targets) == 0 {
		t.Errorf("panel %q: datasource %v, unit %q, %d queries", p.Title, p.Datasource, p.FieldConfig.Defaults.Unit, len(p.Targets))
	}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if refs[q.RefID] || q.RefID == "" || q.Datasource != prometheusSource {
			t.Errorf("panel %q: query %q, datasource %v", p.Title, q.RefID, q.Datasource)
		}
		refs[q.RefID] = true
		selectors := regexp.MustCompile(`\b(leat|process|go)_\w+(\{[^}]*\})?`).FindAllString(q.Expr, -1)
		for _, s := range selectors {
			if !strings.Contains(s, `{instance=~"$instance"`) {
				t.Errorf("panel %q: %s is not of the chosen agents", p.Title, s)
			}
		}
		if len(selectors) == 0 {
			t.Errorf("panel %q: %s asks for nothing", p.Title, q.Expr)
		}
	}
}

// rules is the part of rules.yml that the tests look at.
type rules struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Alert, Expr         string
	For                 string
	Labels, Annotations map[string]string
}

func readRules(t *testing.T) []rule {
	t.Helper()
	var r rules
	read(t, "rules.yml", &r)
	var all []rule
	for _, g := range r.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func TestEveryAlertSaysWhatToDo(t *testing.T) {
	for _, r := range readRules(t) {
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || len(r.Annotations["description"]) < 100 {
			t.Errorf("%s does not say what happened and what to do", r.Alert)
		}
	}
}

// TestEveryAlertIsTested: rules_test.yml has a case in which it fires and one in which it is quiet although the same series are
// there. That these cases hold is what promtool tests.
func TestEveryAlertIsTested(t *testing.T) {
	var cases struct {
		Tests []struct {
			Name   string
			Series []struct{ Series, Values string } `yaml:"input_series"`
			Exprs  []struct {
				Expr    string
				Samples []struct{ Labels string } `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	read(t, "rules_test.yml", &cases)
	named := regexp.MustCompile(`^(\w+) (fires|is quiet)`)
	series := map[string][]string{} // by name of the case, the metrics
	seen := map[string]bool{}
	for _, c := range cases.Tests {
		m := named.FindStringSubmatch(c.Name)
		if m == nil || len(c.Exprs) != 1 || c.Exprs[0].Expr != `ALERTS{alertstate="firing"}` {
			t.Fatalf("case %q is none of these", c.Name)
		}
		for _, s := range c.Series {
			name, _, _ := strings.Cut(s.Series, "{")
			series[c.Name] = append(series[c.Name], name)
		}
		samples := c.Exprs[0].Samples
		switch {
		case m[2] == "fires" && (len(samples) != 1 || !strings.Contains(samples[0].Labels, fmt.Sprintf("alertname=%q", m[1]))):
			t.Errorf("case %q expects %v", c.Name, samples)
		case m[2] == "is quiet" && len(samples) != 0:
			t.Errorf("case %q expects %v", c.Name, samples)
		}
		seen[m[1]+" "+m[2]] = true
	}
	for name, has := range series {
		if !strings.Contains(name, " fires") {
			continue
		}
		quiet := strings.Replace(name, " fires", " is quiet", 1)
		for _, s := range has {
			if !slices.Contains(series[quiet], s) {
				t.Errorf("case %q has no series %s, which %q has", quiet, s, name)
			}
		}
	}
	for _, r := range readRules(t) {
		if !seen[r.Alert+" fires"] || !seen[r.Alert+" is quiet"] {
			t.Errorf("%s lacks a case", r.Alert)
		}
	}
}
