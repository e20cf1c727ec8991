//! `libportcullis.so`: the hooks that Envoy calls, with the engine behind them. `make native` builds it.

portcullis_envoy::module!(portcullis_envoy::new_config);
