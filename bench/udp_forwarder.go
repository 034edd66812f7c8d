// A forwarder of datagrams as one writes it with Go's standard library, after the model of Docker's
// proxy: a socket to the target and a goroutine for each client, until nothing has come back for a
// while. Its arguments are where it listens and where that leads, both as ADDRESS:PORT.
package main

import (
	"log"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	timeout  = 90 * time.Second
	maxBytes = 65507
)

type forwarder struct {
	listener *net.UDPConn
	target   *net.UDPAddr
	lock     sync.Mutex
	sessions map[netip.AddrPort]*net.UDPConn
}

// upstream gives the client's socket to the target.
func (f *forwarder) upstream(client netip.AddrPort) (*net.UDPConn, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	if conn, ok := f.sessions[client]; ok {
		return conn, nil
	}
	conn, err := net.DialUDP("udp", nil, f.target)
	if err != nil {
		return nil, err
	}
	f.sessions[client] = conn
	go f.answer(client, conn)
	return conn, nil
}

// answer passes on what comes back until nothing does.
func (f *forwarder) answer(client netip.AddrPort, conn *net.UDPConn) {
	buffer := make([]byte, maxBytes)
	for {
		conn.SetReadDeadline(time.Now().Add(timeout))
		count, err := conn.Read(buffer)
		if err != nil {
			break
		}
		f.listener.WriteToUDPAddrPort(buffer[:count], client)
	}
	f.lock.Lock()
	delete(f.sessions, client)
	f.lock.Unlock()
	conn.Close()
}

func main() {
	address, err := net.ResolveUDPAddr("udp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	target, err := net.ResolveUDPAddr("udp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.ListenUDP("udp", address)
	if err != nil {
		log.Fatal(err)
	}
	f := &forwarder{listener: listener, target: target, sessions: map[netip.AddrPort]*net.UDPConn{}}
	buffer := make([]byte, maxBytes)
	for {
		count, client, err := listener.ReadFromUDPAddrPort(buffer)
		if err != nil {
			log.Fatal(err)
		}
		conn, err := f.upstream(client)
		if err != nil {
			continue
		}
		conn.Write(buffer[:count])
	}
}
