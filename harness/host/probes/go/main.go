// A plugin in standard Go (GOOS=wasip1), without an SDK, for the test host's tests: Go's runtime is what
// needs most of a host. It adds a header, refuses one path, counts requests and answers to ticks.
package main

import (
	"fmt"
	"os"
	"unsafe"
)

//go:wasmimport env proxy_log
func proxyLog(level uint32, text unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_set_tick_period_milliseconds
func proxySetTickPeriod(period uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBuffer(kind, start, size uint32, data, length unsafe.Pointer) uint32

//go:wasmimport env proxy_get_header_map_value
func proxyGetHeader(kind uint32, name unsafe.Pointer, size uint32, value, length unsafe.Pointer) uint32

//go:wasmimport env proxy_add_header_map_value
func proxyAddHeader(kind uint32, name unsafe.Pointer, nameSize uint32, value unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_send_local_response
func proxySendLocalResponse(status uint32, details unsafe.Pointer, detailsSize uint32, body unsafe.Pointer,
	bodySize uint32, headers unsafe.Pointer, headersSize uint32, grpc int32) uint32

//go:wasmimport env proxy_define_metric
func proxyDefineMetric(kind uint32, name unsafe.Pointer, size uint32, id unsafe.Pointer) uint32

//go:wasmimport env proxy_increment_metric
func proxyIncrementMetric(id uint32, offset int64) uint32

var (
	greeting string
	requests uint32
	// What the host was given, so that the collector leaves it alone until it is read.
	given = map[uint32][]byte{}
)

func main() {}

func bytesOf(text string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(text)) }

func log(text string) { proxyLog(2, bytesOf(text), uint32(len(text))) }

func take(data, size uint32) string {
	bytes := given[data]
	delete(given, data)
	return string(bytes[:size])
}

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) uint32 {
	bytes := make([]byte, size)
	at := uint32(uintptr(unsafe.Pointer(unsafe.SliceData(bytes))))
	given[at] = bytes
	return at
}

//go:wasmexport proxy_on_context_create
func onContextCreate(context, root uint32) {}

//go:wasmexport proxy_on_configure
func onConfigure(context, size uint32) uint32 {
	var data, length uint32
	if proxyGetBuffer(7, 0, size, unsafe.Pointer(&data), unsafe.Pointer(&length)) != 0 || length == 0 {
		return 0
	}
	greeting = take(data, length)
	name := "go_requests"
	proxyDefineMetric(0, bytesOf(name), uint32(len(name)), unsafe.Pointer(&requests))
	proxySetTickPeriod(1000)
	fmt.Fprintf(os.Stderr, "configured with %s, %s\n", greeting, os.Getenv("PROBE"))
	return 1
}

//go:wasmexport proxy_on_tick
func onTick(context uint32) { log("tick from go") }

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(context, count, end uint32) uint32 {
	proxyIncrementMetric(requests, 1)
	var data, length uint32
	path := ":path"
	if proxyGetHeader(0, bytesOf(path), uint32(len(path)), unsafe.Pointer(&data), unsafe.Pointer(&length)) != 0 {
		return 1
	}
	if take(data, length) == "/forbidden" {
		body := "no"
		proxySendLocalResponse(403, nil, 0, bytesOf(body), uint32(len(body)), nil, 0, -1)
		return 1
	}
	garbage := make([][]byte, 0, 64)
	for i := range 64 {
		garbage = append(garbage, make([]byte, 1024*(i+1)))
	}
	name, value := "x-greeting", fmt.Sprintf("%s %d", greeting, len(garbage))
	proxyAddHeader(0, bytesOf(name), uint32(len(name)), bytesOf(value), uint32(len(value)))
	return 0
}
