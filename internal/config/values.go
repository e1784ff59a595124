package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	durationPart = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(ms|s|min|m|h|d|w)`)
	sizeShape    = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([KMGT])$`)
	percentShape = regexp.MustCompile(`^([0-9]+)%$`)
)

var durationUnits = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "min": time.Minute,
	"h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

// ParseDuration reads a span of time as the configuration writes it: numbers
// with units, "3s", "500ms", "1h30m", "2d". There is no sign: nothing here
// lasts less than nothing. "0" needs no unit.
func ParseDuration(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	if strings.HasPrefix(text, "-") {
		return 0, fmt.Errorf("%q is negative", text)
	}
	var total float64
	for rest := text; ; {
		m := durationPart.FindStringSubmatch(rest)
		if m == nil {
			return 0, fmt.Errorf("%q is no duration (a number and ms, s, m, h, d or w)", text)
		}
		number, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, fmt.Errorf("%q is no duration: %w", text, err)
		}
		total += number * float64(durationUnits[m[2]])
		if rest = rest[len(m[0]):]; rest == "" {
			break
		}
	}
	if total > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is longer than can be counted", text)
	}
	return time.Duration(total), nil
}

// parseSize reads a number of bytes: "64K", "8G", in powers of 1024.
func parseSize(text string) (int64, error) {
	m := sizeShape.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is no size (a number and K, M, G or T)", text)
	}
	number, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no size: %w", text, err)
	}
	number *= float64(int64(1) << (10 * (1 + strings.Index("KMGT", m[2]))))
	if number > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is more than can be counted", text)
	}
	return int64(number), nil
}

var errNoPercent = errors.New("no percentage")

func parsePercent(text string) (int, error) {
	m := percentShape.FindStringSubmatch(text)
	if m == nil {
		return 0, errNoPercent
	}
	return strconv.Atoi(m[1])
}

// spell writes a duration as the configuration would: "10m", "1h30m", "500ms".
func spell(d time.Duration) string {
	var out strings.Builder
	for _, unit := range []string{"d", "h", "m", "s", "ms"} {
		if n := d / durationUnits[unit]; n > 0 {
			fmt.Fprintf(&out, "%d%s", n, unit)
			d -= n * durationUnits[unit]
		}
	}
	if out.Len() == 0 {
		return "0s"
	}
	return out.String()
}

// size writes bytes as the configuration would.
func size(bytes int64) string {
	for i, unit := range []string{"T", "G", "M", "K"} {
		if one := int64(1) << (10 * (4 - i)); bytes >= one && bytes%one == 0 {
			return strconv.FormatInt(bytes/one, 10) + unit
		}
	}
	return strconv.FormatInt(bytes, 10)
}
