package ending

import (
	"xexit/internal/config"
	"xexit/internal/member"
)

// exempt is what the end of a whole login spares on this host. A program that
// is not installed, or that somebody other than root could have put where it
// is, exempts nobody.
func exempt(c config.Config) member.Exempt {
	return member.NewExempt(c.Daemon.Exempt, func(path string) (member.File, bool) {
		f, err := config.Executable(path)
		return member.File{Dev: f.Dev, Ino: f.Ino}, err == nil
	})
}
