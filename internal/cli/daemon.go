package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"xexit/internal/config"
	"xexit/internal/daemon"
	"xexit/internal/history"
)

// stopPatience is how long a daemon that is asked to stop waits for ends that
// are under way. The unit's TimeoutStopSec= is longer.
const stopPatience = 60 * time.Second

func daemonCommand(env Env) *cobra.Command {
	var file string
	var thaw bool
	c := &cobra.Command{
		Use:   "daemon",
		Short: "system mode: end what each login of this host leaves behind",
		Long: `Watch the logins of this host, and end what each leaves behind. It runs as root,
in the foreground, most often as xexit.service; see xexit-daemon(8). SIGHUP has
it read the configuration again.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return usage(errors.New("only root can end what others leave behind: run it as root, or `systemctl enable --now xexit`"))
			}
			if thaw {
				if err := daemon.Thaw("/proc", history.SystemRuntime); err != nil {
					return failed(err)
				}
				return nil
			}
			return runDaemon(c.Context(), env, file)
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration `FILE` instead of the system's")
	c.Flags().BoolVar(&thaw, "thaw", false, "let go on whom a daemon that died has left frozen, and do nothing else")
	return c
}

func runDaemon(ctx context.Context, env Env, file string) error {
	paths := config.SystemPaths()
	if file != "" {
		paths = config.Paths{File: file}
	}
	stderr, ok := env.Stderr.(*os.File)
	if !ok {
		return failed(fmt.Errorf("standard error is no file, but %T", env.Stderr))
	}
	log := slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: withoutTime}))
	source, name, err := daemon.HostSource("/", "/proc", news(func(err error) {
		log.Warn("nobody tells of logins over the bus; their files are watched all the same", "error", err)
	}))
	if err != nil {
		return failed(err)
	}
	err = daemon.Run(ctx, daemon.Options{
		Self: env.Self, Proc: "/proc", Root: "/", Dir: history.SystemRuntime, Config: paths,
		StateDir: history.SystemState, Version: env.Version,
		Source: source, SourceName: name, Displays: displays(env.Self), Stderr: stderr, Stop: stopPatience, Log: log,
	})
	switch {
	case errors.Is(err, daemon.ErrConfig):
		return usage(err)
	case err != nil:
		return failed(err)
	}
	return nil
}

// news passes an error on that is not the one before: what is tried again and
// again fails again and again.
func news(say func(error)) func(error) {
	var mu sync.Mutex
	last := ""
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if text := err.Error(); text != last {
			last = text
			say(err)
		}
	}
}
