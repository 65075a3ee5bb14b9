// Package observe holds what people see agents with: alert rules, a dashboard, a configuration of Prometheus that uses them. It is tests
// only, and must never be imported.
//
//	rules.yml, rules_test.yml   alerts, and what each says to made-up series (promtool)
//	dashboard.json              for Grafana
//	prometheus.yml              an example
//	go test ./localstack/observe                  what needs nothing but the files
//	go test -tags observe ./localstack/observe    every query, on a Prometheus that scrapes agents with traffic (`make observe`)
package observe
