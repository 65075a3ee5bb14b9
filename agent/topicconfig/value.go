package topicconfig

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Kind tells which Kafka error an *Error is.
type Kind int8

const (
	// InvalidConfig is INVALID_CONFIG (40).
	InvalidConfig Kind = iota
	// InvalidRequest is INVALID_REQUEST (42).
	InvalidRequest
)

// Error refuses a config. Message is worded as by Apache Kafka.
type Error struct {
	Kind    Kind
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func invalid(format string, args ...any) *Error {
	return &Error{Kind: InvalidConfig, Message: fmt.Sprintf(format, args...)}
}

// Validate tells whether name may have value: nil, or an *Error of InvalidConfig. Rules between configs are
// ValidateTogether's.
func Validate(name, value string) error {
	_, err := Canonical(name, value)
	return err
}

// Canonical is Validate, and returns the value in the form in which it is kept and described: trimmed, numbers without
// sign or leading zeros, lists without spaces, policies without repetition.
func Canonical(name, value string) (string, error) {
	d, ok := Lookup(name)
	if !ok {
		return "", invalid("Unknown topic config name: %s", name)
	}
	v, err := parse(d, value)
	if err == nil && d.check != nil {
		v, err = d.check(d, v)
	}
	if err != nil {
		return "", err
	}
	return text(v), nil
}

// ValidateTogether tells whether overrides, each of which is valid, are so together: nil, or an *Error of InvalidConfig.
func ValidateTogether(overrides map[string]string) error {
	c := Resolve(overrides).Compaction
	if c.MinLagMs > c.MaxLagMs {
		return invalid("conflict topic config setting min.compaction.lag.ms (%d) > max.compaction.lag.ms (%d)", c.MinLagMs, c.MaxLagMs)
	}
	return nil
}

// parse reads a value as Kafka's ConfigDef.parseType does: bool, string, int64, float64 or []string.
func parse(d Def, value string) (any, error) {
	// Java's String.trim removes every character up to the space, control characters too.
	trimmed := strings.TrimFunc(value, func(r rune) bool { return r <= ' ' })
	switch d.Type {
	case Boolean:
		switch strings.ToLower(trimmed) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, refuse(d, value, "Expected value to be either true or false")
	case Int:
		return number(d, value, func() (any, error) { return strconv.ParseInt(trimmed, 10, 32) })
	case Long:
		return number(d, value, func() (any, error) { return strconv.ParseInt(trimmed, 10, 64) })
	case Double:
		return number(d, value, func() (any, error) { return parseDouble(trimmed) })
	case List:
		if trimmed == "" {
			return []string{}, nil
		}
		return listSeparator.Split(trimmed, -1), nil
	}
	return trimmed, nil
}

var listSeparator = regexp.MustCompile(`\s*,\s*`)

func number(d Def, value string, read func() (any, error)) (any, error) {
	v, err := read()
	if err != nil {
		return nil, refuse(d, value, "Not a number of type "+d.Type.String())
	}
	return v, nil
}

// parseDouble reads what Java's Double.parseDouble reads: it knows only the spellings NaN and Infinity, allows a suffix d
// or f, and rounds what is out of range to 0 or infinity.
func parseDouble(s string) (any, error) {
	bare := strings.TrimLeft(s, "+-")
	if len(s)-len(bare) > 1 {
		return nil, strconv.ErrSyntax
	}
	if bare != "NaN" && bare != "Infinity" {
		if strings.ContainsAny(bare, "_iInN") {
			return nil, strconv.ErrSyntax
		}
		if n := len(s); n > 1 && strings.ContainsRune("dDfF", rune(s[n-1])) {
			hex := strings.HasPrefix(bare, "0x") || strings.HasPrefix(bare, "0X")
			if !hex || strings.ContainsAny(bare, "pP") {
				s = s[:n-1]
			}
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil, err
	}
	return f, nil
}

// text prints a parsed value as Java does.
func text(v any) string {
	switch v := v.(type) {
	case []string:
		return strings.Join(v, ",")
	case float64:
		return javaDouble(v)
	}
	return fmt.Sprint(v)
}

// javaDouble prints like Double.toString: always with a fraction, with an exponent outside of 10⁻³ to 10⁷.
func javaDouble(f float64) string {
	switch a := math.Abs(f); {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strings.Replace(fmt.Sprint(f), "Inf", "Infinity", 1), "+")
	case a == 0 || a >= 1e-3 && a < 1e7:
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'E', -1, 64), "E")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	e, err := strconv.Atoi(exponent)
	if err != nil {
		panic("FormatFloat wrote the exponent " + exponent)
	}
	return mantissa + "E" + strconv.Itoa(e)
}

// refuse words an error like Kafka's ConfigException.
func refuse(d Def, value any, why string) *Error {
	return invalid("Invalid value %v for configuration %s: %s", value, d.Name, why)
}

// A check refuses a parsed value, or returns it, changed if its canonical form is another.
type check func(d Def, v any) (any, error)

func atLeast(low int64) check { return between(low, maxLong) }

func between(low, high int64) check {
	return func(d Def, v any) (any, error) {
		// NaN is neither too low nor too high, for Kafka as for this comparison.
		var tooLow, tooHigh bool
		switch n := v.(type) {
		case int64:
			tooLow, tooHigh = n < low, n > high
		case float64:
			tooLow, tooHigh = n < float64(low), n > float64(high)
		}
		switch {
		case tooLow:
			return nil, refuse(d, text(v), fmt.Sprintf("Value must be at least %d", low))
		case tooHigh:
			return nil, refuse(d, text(v), fmt.Sprintf("Value must be no more than %d", high))
		}
		return v, nil
	}
}

func gzipLevel(d Def, v any) (any, error) {
	if n := v.(int64); n == -1 || n >= 1 && n <= 9 {
		return v, nil
	}
	return nil, refuse(d, text(v), "Value must be between 1 and 9 or equal to -1")
}

func oneOf(values ...string) check {
	return func(d Def, v any) (any, error) {
		if !slices.Contains(values, v.(string)) {
			return nil, refuse(d, v, "String must be one of: "+strings.Join(values, ", "))
		}
		return v, nil
	}
}

// elements allows a list of values, which may be empty; repetitions are dropped.
func elements(values ...string) check {
	each := oneOf(values...)
	return func(d Def, v any) (any, error) {
		list := []string{}
		for _, e := range v.([]string) {
			if e == "" {
				return nil, invalid("Configuration '%s' values must not be empty.", d.Name)
			}
			if _, err := each(d, e); err != nil {
				return nil, err
			}
			if !slices.Contains(list, e) {
				list = append(list, e)
			}
		}
		return list, nil
	}
}

var replica = regexp.MustCompile(`^([0-9]+:[0-9]+)?$`)

func throttled(d Def, v any) (any, error) {
	list := v.([]string)
	if slices.Equal(list, []string{"*"}) {
		return v, nil
	}
	for _, e := range list {
		if !replica.MatchString(e) {
			return nil, refuse(d, "["+strings.Join(list, ", ")+"]", d.Name+" must be the literal '*' or a list of replicas in the "+
				"following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...")
		}
	}
	return v, nil
}

func noRemoteStorage(_ Def, v any) (any, error) {
	if v.(bool) {
		return nil, invalid("Tiered Storage functionality is disabled in the broker. " +
			"Topic cannot be configured with remote log storage.")
	}
	return v, nil
}
