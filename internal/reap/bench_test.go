package reap

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"
)

// preloaded is a Looker that knows whom to end before it is asked.
type preloaded struct {
	*descendants
	look *Look
}

func (p *preloaded) Look(context.Context) (Look, error) {
	look := *p.look
	p.look = &Look{Clean: true}
	return look, nil
}

// BenchmarkObedient ends 100 processes that obey, with a Looker that costs
// nothing and with one that reads all of /proc each time.
func BenchmarkObedient(b *testing.B) {
	for _, test := range []struct {
		name   string
		looker func(*descendants, *Look) Looker
	}{
		{"trivial look", func(d *descendants, look *Look) Looker { return &preloaded{d, look} }},
		{"reads proc", func(d *descendants, _ *Look) Looker { return d }},
	} {
		b.Run(test.name, func(b *testing.B) {
			var times []time.Duration
			looks := 0
			for range b.N {
				b.StopTimer()
				d := startNest(b, 0, "100", "/bin/sleep", "90")
				look, err := d.Look(hangGuard(b))
				if err != nil || len(look.End) != 100 {
					b.Fatal(len(look.End), err)
				}
				b.StartTimer()
				rep, err := Run(hangGuard(b), d.fs, test.looker(d, &look), anyone, longGrace)
				b.StopTimer()
				if err != nil || !rep.Verified || len(rep.Processes) != 100 {
					b.Fatal(rep, err)
				}
				d.wantNobody(b)
				times = append(times, rep.Took)
				looks += rep.Looks
			}
			slices.Sort(times)
			b.ReportMetric(times[len(times)/2].Seconds()*1000, "median-ms")
			b.ReportMetric(float64(looks)/float64(b.N), "looks")
		})
	}
}

// BenchmarkForkChains ends 8 chains of forks that ignore TERM, with no grace.
func BenchmarkForkChains(b *testing.B) {
	needRoot(b)
	var times []time.Duration
	for range b.N {
		b.StopTimer()
		d := startNest(b, 8, fmt.Sprintf("uid=%d", testUID), "8", "chain")
		b.StartTimer()
		rep, err := Run(hangGuard(b), d.fs, d, anyone, Options{Force: hang})
		b.StopTimer()
		if err != nil || !rep.Verified {
			b.Fatal(rep.Verified, err)
		}
		d.wantNobody(b)
		times = append(times, rep.Took)
	}
	slices.Sort(times)
	b.ReportMetric(times[len(times)/2].Seconds()*1000, "median-ms")
}
