package term

import (
	"fmt"
	"strconv"
	"time"
)

// Duration writes a span of time as people read one: two significant digits
// or more and a unit up to a minute ("850 µs", "1.2 ms", "3.4 s"), beyond that
// two units ("2 min 5 s", "3 h 20 min", "2 d 4 h").
func Duration(d time.Duration) string {
	if d < 0 {
		return "-" + Duration(-max(d, -1<<62))
	}
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < 999500*time.Nanosecond:
		return scaled(d, time.Microsecond, "µs")
	case d < 999500*time.Microsecond:
		return scaled(d, time.Millisecond, "ms")
	case d < 59500*time.Millisecond:
		return scaled(d, time.Second, "s")
	case d < 59*time.Minute+59500*time.Millisecond:
		return pair(d.Round(time.Second), time.Minute, "min", time.Second, "s")
	case d < 24*time.Hour-30*time.Second:
		return pair(d.Round(time.Minute), time.Hour, "h", time.Minute, "min")
	}
	return pair(d.Round(time.Hour), 24*time.Hour, "d", time.Hour, "h")
}

// scaled keeps one decimal below ten and none above.
func scaled(d, unit time.Duration, name string) string {
	value := float64(d) / float64(unit)
	decimals := 0
	if value < 9.95 {
		decimals = 1
	}
	return strconv.FormatFloat(value, 'f', decimals, 64) + " " + name
}

func pair(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	text := fmt.Sprintf("%d %s", d/big, bigName)
	if rest := d % big / small; rest > 0 {
		text += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return text
}
