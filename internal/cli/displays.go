package cli

import (
	"path/filepath"

	"xexit/internal/displayd"
	"xexit/internal/history"
	"xexit/internal/logind"
)

// displays are watched by a service of its own, and opened by transient ones;
// without systemd both are children of the daemon.
func displays(self string) *displayd.Client {
	o := displayd.Options{
		Worker: displayd.ChildWorker(self), Opener: displayd.ChildOpener(self),
		Notes: filepath.Join(history.SystemRuntime, "displays"),
	}
	if logind.Booted("/") {
		o.Worker = displayd.Listen(filepath.Join(history.SystemRuntime, "display.sock"), displayd.IsWorker)
		o.Opener = displayd.UnitOpener(self)
	}
	return displayd.New(o)
}
