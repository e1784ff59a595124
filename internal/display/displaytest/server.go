// Package displaytest is a small X server without a screen, for tests and for
// the demonstration: a real unix socket that real clients connect to, with
// properties, PropertyNotify, X-Resource and faults on demand; and the same for
// a Wayland compositor, as far as wl_display goes. It draws nothing and is no
// reference for either protocol; it is not part of the watcher.
package displaytest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Options shape a server. The zero value lets everybody in.
type Options struct {
	Cookie     []byte // MIT-MAGIC-COOKIE-1 that clients must show; nil: none
	MaxClients int    // 0: no limit
	NoXRes     bool   // without the X-Resource extension
}

// Mode is a fault that the server has from now on.
type Mode int

// The modes.
const (
	Healthy  Mode = iota
	Frozen        // accepts connections and reads, and answers nothing; nothing is lost meanwhile
	Refuse        // refuses new clients, with the reason given to SetRefusal; a compositor: whatever they ask
	Garbage       // answers every request with random-looking bytes
	Slow          // answers byte by byte
	Truncate      // sends half of every answer and closes
	Endless       // follows every answer with events without end
)

// Server is a running server. All methods may be called from any goroutine.
type Server struct {
	display  string
	listener net.Listener
	options  Options
	speak    func(*client) // X11 or Wayland, up to the connection's end
	flood    []byte        // what Endless sends

	mu       sync.Mutex
	changed  *sync.Cond // mode or closed
	mode     Mode
	refusal  string
	closed   bool
	clients  map[*client]struct{}
	nextBase uint32
	atoms    map[string]uint32
	windows  map[uint32]*window
	requests map[byte]int
	refused  int
	flooded  int
	accepted int
	running  sync.WaitGroup
}

// window is a window: its properties and who is told of their changes.
type window struct {
	owner    *client // nil: the root
	property map[uint32]property
	watchers map[*client]struct{}
}

// property is a property's value.
type property struct {
	kind   uint32
	format byte
	value  []byte
}

// Identities that the server gives out.
const (
	rootWindow uint32 = 0x100
	idMask     uint32 = 0x1fffff
	lastFixed  uint32 = 68 // the last predefined atom
)

// Start starts a server. where is a directory, in which the socket "X" is made
// (the display's name is then its path, which display names may be), or starts
// with '@': an abstract socket, which has no display name by itself unless it
// is "@/tmp/.X11-unix/XN", which is display ":N". The path of a socket must be
// shorter than 108 bytes (unix(7)).
func Start(where string) (*Server, error) { return StartWith(where, Options{}) }

// StartWith is Start with options.
func StartWith(where string, o Options) (*Server, error) {
	name, display := where, where
	if strings.HasPrefix(where, "@") {
		if n, ok := strings.CutPrefix(where, "@/tmp/.X11-unix/X"); ok {
			display = ":" + n
		}
	} else {
		name = filepath.Join(where, "X")
		display = name
	}
	listener, err := net.Listen("unix", name)
	if err != nil {
		return nil, fmt.Errorf("start fake display: %w", err)
	}
	return serve(listener, display, o, x11()), nil
}

// StartWayland starts a compositor, whose socket "wayland-0" is made in a
// directory; Display is its path.
func StartWayland(dir string) (*Server, error) {
	listener, err := net.Listen("unix", filepath.Join(dir, "wayland-0"))
	if err != nil {
		return nil, fmt.Errorf("start fake compositor: %w", err)
	}
	return serve(listener, listener.Addr().String(), Options{}, wayland()), nil
}

// StartTCP starts a server on a TCP address such as "127.0.0.1:6005"; its
// display name is "host:5".
func StartTCP(address string, o Options) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start fake display: %w", err)
	}
	tcp := listener.Addr().(*net.TCPAddr)
	host := tcp.IP.String()
	if tcp.IP.To4() == nil {
		host = "[" + host + "]"
	}
	return serve(listener, fmt.Sprintf("%s:%d", host, tcp.Port-6000), o, x11()), nil
}

// language is what differs between an X server and a compositor.
type language struct {
	speak func(*client)
	flood []byte
}

func serve(l net.Listener, display string, o Options, spoken language) *Server {
	s := &Server{
		display: display, listener: l, options: o, speak: spoken.speak, flood: spoken.flood,
		clients: map[*client]struct{}{}, nextBase: 0x200000,
		atoms: map[string]uint32{}, requests: map[byte]int{},
	}
	s.changed = sync.NewCond(&s.mu)
	s.reset()
	s.running.Add(1)
	go s.accept()
	return s
}

func (s *Server) reset() {
	s.windows = map[uint32]*window{rootWindow: newWindow(nil)}
}

func newWindow(owner *client) *window {
	return &window{owner: owner, property: map[uint32]property{}, watchers: map[*client]struct{}{}}
}

// Display is what DISPLAY or WAYLAND_DISPLAY has to hold.
func (s *Server) Display() string { return s.display }

func (s *Server) accept() {
	defer s.running.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = conn.Close()
			return
		}
		c := &client{server: s, conn: conn, base: s.nextBase}
		s.nextBase += idMask + 1
		s.accepted++
		s.clients[c] = struct{}{}
		s.running.Add(1)
		s.mu.Unlock()
		go c.serve()
	}
}

// PullCable ends the server as a crash or a power cut does: every connection
// and the socket are gone at once. It returns when they are.
func (s *Server) PullCable() { _ = s.Close() }

// Close is PullCable.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	err := s.listener.Close()
	for c := range s.clients {
		err = errors.Join(err, c.conn.Close())
	}
	s.changed.Broadcast()
	s.mu.Unlock()
	s.running.Wait()
	if path := s.listener.Addr().String(); strings.HasPrefix(path, "/") {
		_ = os.Remove(path) // the listener has done it already
	}
	return err
}

// Reset is what a server does when its last client left or on SIGHUP: every
// connection ends, all properties are forgotten, and it accepts again.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset()
	s.dropLocked()
}

// DropClients closes every connection; the server and its properties stay.
func (s *Server) DropClients() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked()
}

func (s *Server) dropLocked() {
	for c := range s.clients {
		_ = c.conn.Close()
	}
}

// SetMode gives the server a fault, or heals it.
func (s *Server) SetMode(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = m
	s.changed.Broadcast()
}

// SetRefusal makes the server refuse new clients with a reason.
func (s *Server) SetRefusal(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode, s.refusal = Refuse, reason
	s.changed.Broadcast()
}

// SetRootProperty sets a text property of the root window, and tells those who
// asked to be told.
func (s *Server) SetRootProperty(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const text = 31
	s.changeLocked(rootWindow, s.atomLocked(name), property{text, 8, []byte(value)})
}

// RootProperty is a property of the root window, "" if there is none.
func (s *Server) RootProperty(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.windows[rootWindow].property[s.atomLocked(name)].value)
}

// Requests is how many requests with an opcode have come; a compositor counts
// those of wl_display.
func (s *Server) Requests(opcode byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[opcode]
}

// Refused is how many clients were not let in.
func (s *Server) Refused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// Flooded is how many bytes went out in the modes Endless and Boundless.
func (s *Server) Flooded() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flooded
}

// Clients is how many are connected.
func (s *Server) Clients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.clients)
}

func (s *Server) atomLocked(name string) uint32 {
	if a, ok := s.atoms[name]; ok {
		return a
	}
	a := lastFixed + 1 + uint32(len(s.atoms))
	s.atoms[name] = a
	return a
}

func (s *Server) changeLocked(id, atom uint32, p property) {
	w := s.windows[id]
	if w == nil {
		return
	}
	w.property[atom] = p
	for c := range w.watchers {
		c.notify(id, atom)
	}
}
