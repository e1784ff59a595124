package x11

import (
	"encoding/binary"
	"testing"
)

// BenchmarkPing is one question and its answer, that there is no such property.
func BenchmarkPing(b *testing.B) {
	c := NewConn(nil)
	if err := c.Feed(setupOK(), func(Event) error { return nil }); err != nil {
		b.Fatal(err)
	}
	answer := reply(0, 0, nil)
	answers := 0
	b.ReportAllocs()
	for b.Loop() {
		c.GetProperty(1, 1, 1, 16)
		c.Sent(len(c.Output()))
		binary.LittleEndian.PutUint16(answer[2:], c.seq)
		if err := c.Feed(answer, func(Event) error { answers++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	if answers == 0 {
		b.Fatal("no answers")
	}
}
