// Command bench measures xexit in a machine of its own (package machine) and
// prints a small table: median and worst of each figure beside the goal. It
// asserts nothing, for times are not the same anywhere. Figures that are
// compared are taken in the same run.
//
//	bench [-rounds N] [-only WORD,…] [-largest N]
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 15, "rounds of each figure; the slow ones take a fifth")
	only := flag.String("only", "", "only some of the figures: death,end,scan,uss,cut,idle")
	largest := flag.Int("largest", crowdSizes[len(crowdSizes)-1], "the most others among which scan ends something")
	flag.Parse()
	if err := run(*rounds, *largest, *only); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// row is one line of the table.
type row struct {
	what   string
	unit   string
	values []float64
	goal   string
}

// bench is one kind of measurement.
type bench struct {
	name    string
	measure func(t *tools, rounds int) ([]row, error)
}

func run(rounds, largest int, only string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root, to make machines of its own")
	}
	top, err := os.MkdirTemp("/var/tmp", "xexit-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(top)) }()
	if err := os.Chmod(top, 0o755); err != nil {
		return err
	}
	repository, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	t, err := makeTools(repository, top)
	if err != nil {
		return err
	}
	t.largest = largest
	var rows []row
	slow := max(rounds/5, 1)
	for _, b := range []struct {
		bench
		rounds int
	}{
		{bench{"death", inMachine(serverDeath)}, rounds},
		{bench{"end", inMachine(hundred)}, slow},
		{bench{"scan", scan}, slow},
		{bench{"uss", inMachine(watcherMemory)}, slow},
		{bench{"cut", inMachine(cableCut)}, slow},
		{bench{"idle", idle}, 1},
	} {
		if only != "" && !slices.Contains(strings.Split(only, ","), b.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s, %d rounds …\n", b.name, b.rounds)
		more, err := b.measure(t, b.rounds)
		rows = append(rows, more...)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", b.name, err), table(rows)) // what there is
		}
	}
	return table(rows)
}

func table(rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "figure\tmedian\tworst\trounds\tgoal")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%.2f %s\t%.2f %s\t%d\t%s\n", r.what, median(r.values), r.unit, slices.Max(r.values), r.unit, len(r.values), r.goal)
	}
	return w.Flush()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
