//! The component around the plugin.

agente_plugin_sdk::export_traffic_switcher!(crate::NginxSwitch);
