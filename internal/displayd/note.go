package displayd

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"xexit/internal/display"
	"xexit/internal/linux"
)

// place is where a display is.
type place struct {
	Name      string `json:"name"` // as in DISPLAY, or a Wayland socket's path
	Wayland   bool   `json:"wayland,omitempty"`
	Authority string `json:"authority,omitempty"` // "": ~/.Xauthority
	SSH       string `json:"ssh,omitempty"`
}

// maxNote is the room for a place.
const maxNote = 4096

// pin names the address that was connected to: another one of the same name
// may lead another way.
func (p *place) pin(c display.Connection) {
	ip, ok := netip.AddrFromSlice(c.IP)
	if !ok || c.Wayland {
		return
	}
	host := ip.String()
	if ip.Is6() {
		if ip.IsLinkLocalUnicast() {
			return // it has a zone
		}
		host = "[" + host + "]"
	}
	p.Name = fmt.Sprintf("%s:%d.%d", host, c.Number, c.Screen)
}

// readNote reads what an opener before this one has found; false: nothing.
func readNote(fd int) (p place, ok bool) {
	buf := make([]byte, maxNote)
	n, err := linux.ReadStart(fd, buf)
	return p, err == nil && json.Unmarshal(buf[:n], &p) == nil && p.Name != ""
}

// writeNote replaces it. One that cannot be written is done without.
func (p *place) writeNote(fd int) {
	if text, err := json.Marshal(p); err == nil && len(text) <= maxNote {
		_ = linux.WriteWhole(fd, text)
	}
}
