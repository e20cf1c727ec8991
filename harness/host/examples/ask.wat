;; A filter that asks the service "authz" about every request and lets it through if the answer is 20x.
(module
  (import "env" "proxy_http_call"
    (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_get_header_map_value"
    (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "authz:statusnot allowed")
  ;; :method GET, :path /check, :authority authz
  (data (i32.const 64)
    "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\05\00\00\00"
    ":method\00GET\00:path\00/check\00:authority\00authz\00")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  ;; It has nothing to configure, and refuses what is there all the same.
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.eqz (local.get 1)))
  (func $refuse
    (drop (call $log (i32.const 3) (i32.const 28) (i32.const 11)))
    (drop (call $reply (i32.const 403) (i32.const 28) (i32.const 11) (i32.const 28) (i32.const 11)
      (i32.const 0) (i32.const 0) (i32.const -1))))
  ;; The call's token goes to address 0, and the context that waits for it behind 4096.
  (func (export "proxy_on_request_headers") (param $context i32) (param i32 i32) (result i32)
    (if (call $call (i32.const 16) (i32.const 5) (i32.const 64) (i32.const 70) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 500) (i32.const 0))
      (then (call $refuse))
      (else (i32.store (i32.add (i32.const 4096) (i32.load (i32.const 0))) (local.get $context))))
    (i32.const 1))
  (func $allows (param $headers i32) (result i32)
    (if (i32.eqz (local.get $headers)) (then (return (i32.const 0))))
    (if (call $get (i32.const 6) (i32.const 21) (i32.const 7) (i32.const 4) (i32.const 8))
      (then (return (i32.const 0))))
    (i32.eq (i32.load16_u (i32.load (i32.const 4))) (i32.const 0x3032)))
  (func (export "proxy_on_http_call_response")
    (param i32) (param $token i32) (param $headers i32) (param i32 i32)
    (drop (call $effective (i32.load (i32.add (i32.const 4096) (local.get $token)))))
    (if (call $allows (local.get $headers))
      (then (drop (call $continue (i32.const 0))))
      (else (call $refuse)))))
