use super::value::Value;
use super::*;

fn resolve(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags: Vec<_> = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Settings::resolve(Some(file), env, &flags)
}

fn complaint(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    resolve(file, env, flags).unwrap_err().to_string()
}

#[test]
fn nothing_given_gives_the_defaults() {
    let settings = resolve("", &[], &[]).unwrap();
    assert_eq!(*settings.config(), Config::default());
    assert_eq!(settings.config().api_addr.to_string(), "127.0.0.1:8002");
    assert_eq!(settings.config().listen.0.len(), 4);
    assert!(settings.rows().iter().all(|row| row.origin == SettingOrigin::Default));
    assert_eq!(settings.rows().len(), KEYS.len());
}

/// promise: Store and data directory | Flag over environment over file over default, and each value says its origin
#[test]
fn a_flag_wins_over_the_environment_over_the_file() {
    let file = "connections_max = 50\nstreams_per_peer_max = 50\nspaces_max = 50";
    let env = [("NEXUS_CONNECTIONS_MAX", "60"), ("NEXUS_STREAMS_PER_PEER_MAX", "60")];
    let settings = resolve(file, &env, &[("connections_max", "70")]).unwrap();
    let config = settings.config();
    assert_eq!(config.connections_max.get(), 70);
    assert_eq!(config.streams_per_peer_max.get(), 60);
    assert_eq!(config.spaces_max.get(), 50);
    assert_eq!(settings.origin("connections_max"), Some(SettingOrigin::Flag));
    assert_eq!(settings.origin("streams_per_peer_max"), Some(SettingOrigin::Env));
    assert_eq!(settings.origin("spaces_max"), Some(SettingOrigin::File));
    assert_eq!(settings.origin("mdns"), Some(SettingOrigin::Default));
    assert_eq!(settings.origin("nonsense"), None);
}

#[test]
fn lists_come_as_arrays_with_commas_or_one_by_one() {
    let (tcp, quic) = ("/ip4/127.0.0.1/tcp/1", "/ip6/::1/udp/2/quic-v1");
    let by_file = resolve(&format!("listen = ['{tcp}', '{quic}']\n[labels]\nrole = 'cloud'\n"), &[], &[]).unwrap();
    let by_env =
        resolve("", &[("NEXUS_LISTEN", &format!("{tcp}, {quic}")), ("NEXUS_LABELS", "role=cloud")], &[]).unwrap();
    let by_flag = resolve("", &[], &[("listen", tcp), ("listen", quic), ("labels", "role=cloud")]).unwrap();
    assert_eq!(by_file.config(), by_env.config());
    assert_eq!(by_file.config(), by_flag.config());
    assert_eq!(by_file.config().listen.0.len(), 2);
    assert_eq!(by_file.config().labels.0["role"], "cloud");
    assert!(resolve("listen = []", &[], &[]).unwrap().config().listen.0.is_empty());
}

/// promise: Bad input | Unknown or bad settings
#[test]
fn an_unknown_key_is_refused_with_what_was_meant() {
    assert_eq!(
        complaint("heartbeat = 1", &[], &[]),
        "config.toml: there is no key heartbeat; did you mean heartbeat_ms?"
    );
    assert_eq!(complaint("api-addr = 1", &[], &[]), "config.toml: there is no key api-addr; did you mean api_addr?");
    assert_eq!(complaint("zzzzzzzz = 1", &[], &[]), "config.toml: there is no key zzzzzzzz");
    assert_eq!(complaint("[limits]\ntext = 1", &[], &[]), "config.toml: there is no key limits");
    assert_eq!(
        complaint("", &[("NEXUS_API_ADR", "x")], &[]),
        "environment: there is no key NEXUS_API_ADR; did you mean api_addr?"
    );
    assert_eq!(complaint("", &[], &[("mdsn", "true")]), "flag: there is no key mdsn");
}

#[test]
fn other_programs_variables_are_no_mistake() {
    let env = [("NEXUS_DATA_DIR", "/x"), ("NEXUS_API", "y"), ("NEXUS_HOME", "/opt"), ("NEXUS_REPOSITORY_URL", "z")];
    let settings = resolve("", &env, &[]).unwrap();
    assert_eq!(settings.ignored(), ["NEXUS_HOME", "NEXUS_REPOSITORY_URL"]);
}

/// promise: Bad input | Unknown or bad settings
#[test]
fn a_bad_value_is_refused_with_its_origin_and_what_is_allowed() {
    assert_eq!(
        complaint("heartbeat_ms = '5s'", &[], &[]),
        "config.toml: heartbeat_ms cannot be \"5s\"; it is a whole number from 100 to 60000"
    );
    assert_eq!(
        complaint("", &[("NEXUS_MDNS", "perhaps")], &[]),
        "environment: mdns cannot be \"perhaps\"; it is true or false"
    );
    assert_eq!(complaint("", &[], &[("log_format", "xml")]), "flag: log_format cannot be \"xml\"; it is text or json");
    for file in [
        "connections_max = 0",
        "connections_max = -1",
        "connections_max = 1.5",
        "api_addr = 'localhost'",
        "listen = '/ip4/127.0.0.1/tcp/1'",
        "listen = ['/ip4/127.0.0.1/udp/1']",
        "listen = ['/ip4/127.0.0.1/tcp/1/ws']",
        "labels = { 'a b' = 'c' }",
        "labels = ['a=b']",
        "name = ' padded'",
        "log = ''",
    ] {
        let error = resolve(file, &[], &[]).unwrap_err();
        assert!(matches!(error, ConfigError::BadValue { origin: SettingOrigin::File, .. }), "{file}: {error}");
    }
    assert!(complaint("mdns = ", &[], &[]).starts_with("config.toml: "));
    assert!(complaint("mdns = true\nmdns = true", &[], &[]).starts_with("config.toml: "));
}

#[test]
fn a_bad_value_is_refused_even_where_another_hides_it() {
    complaint("mdns = 3", &[], &[("mdns", "true")]);
}

/// promise: Bad input | Unknown or bad settings
#[test]
fn values_that_do_not_go_together_are_refused() {
    for (file, rule) in [
        ("heartbeat_ms = 6000", "suspect_after_ms must be at least twice heartbeat_ms (10000 and 6000)"),
        ("down_after_ms = 10000", "down_after_ms must be more than suspect_after_ms (10000 and 10000)"),
        ("connections_max = 8", "connections_pending_max must not exceed connections_max (32 and 8)"),
        ("http_body_bytes_max = 5000", "http_body_bytes_max must be at least twice text_bytes_max (5000 and 32768)"),
    ] {
        assert_eq!(complaint(file, &[], &[]), rule);
    }
    assert!(resolve("connections_max = 8\nconnections_pending_max = 8", &[], &[]).is_ok());
}

/// promise: Store and data directory | Setting a key keeps the rest of the file; a refused change leaves it alone
#[test]
fn setting_a_key_keeps_everything_else_of_the_file() {
    let before = "# my node\nmdns = true # at home\n\n[labels] # where\nrole = 'ide'\n";
    let after = set(before, "mdns", "off").unwrap();
    assert_eq!(after, "# my node\nmdns = false # at home\n\n[labels] # where\nrole = 'ide'\n");
    let after = set(&after, "listen", "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2").unwrap();
    assert!(after.contains("# at home") && after.contains("[labels] # where"), "{after}");
    assert_eq!(resolve(&after, &[], &[]).unwrap().config().listen.0.len(), 2);
    let after = unset(&after, "mdns").unwrap();
    assert_eq!(resolve(&after, &[], &[]).unwrap().origin("mdns"), Some(SettingOrigin::Default));
    let after = set(&after, "labels", "role=cloud").unwrap();
    assert_eq!(resolve(&after, &[], &[]).unwrap().config().labels.0["role"], "cloud");
}

#[test]
fn every_default_can_be_written_and_read_again() {
    let defaults = Config::default();
    for key in KEYS {
        let text = match defaults.toml(key.name) {
            Some(Value::String(text)) => text,
            Some(Value::Array(items)) => items.iter().filter_map(|item| item.as_str()).collect::<Vec<_>>().join(","),
            Some(Value::Table(_)) | None => String::new(),
            Some(other) => other.to_string(),
        };
        let file = set("", key.name, &text).unwrap_or_else(|error| panic!("{error}"));
        let settings = resolve(&file, &[(&key.variable(), &text)], &[]).unwrap();
        assert_eq!(*settings.config(), defaults, "{}", key.name);
        assert!(!key.doc.is_empty() && !key.allowed().is_empty());
    }
}

/// promise: Store and data directory | Setting a key keeps the rest of the file; a refused change leaves it alone
#[test]
fn a_refused_change_leaves_the_file_alone() {
    let home = tempfile::tempdir().unwrap();
    assert!(!set_in(home.path(), "mdns", "false").unwrap().live);
    assert!(set_in(home.path(), "log", "debug").unwrap().live);
    let before = std::fs::read_to_string(home.path().join("config.toml")).unwrap();
    for (key, value) in [("mdns", "maybe"), ("nonsense", "1"), ("heartbeat_ms", "60000")] {
        set_in(home.path(), key, value).unwrap_err();
    }
    assert_eq!(std::fs::read_to_string(home.path().join("config.toml")).unwrap(), before);
    assert_eq!(Settings::load(home.path(), &[]).unwrap().config().log.as_str(), "debug");
}

/// promise: Store and data directory | Flag over environment over file over default, and each value says its origin
#[test]
fn rows_are_what_config_show_prints() {
    let settings = resolve("name = 'laptop'", &[], &[("mdns", "false")]).unwrap();
    let rows = serde_json::to_value(settings.rows()).unwrap();
    assert_eq!(rows[0], serde_json::json!({"key": "name", "value": "laptop", "origin": "file", "live": true}));
    let mdns = rows.as_array().unwrap().iter().find(|row| row["key"] == "mdns").unwrap();
    assert_eq!(*mdns, serde_json::json!({"key": "mdns", "value": false, "origin": "flag", "live": false}));
    assert_eq!(resolve("", &[], &[]).unwrap().rows()[0].value, serde_json::Value::Null);
}

#[test]
fn a_collector_is_an_address_over_plain_http_or_none() {
    let endpoint = |text: &str| {
        let settings = resolve("", &[("NEXUS_OTLP_ENDPOINT", text)], &[]);
        settings.map(|settings| settings.config().otlp_endpoint.as_ref().map(|endpoint| endpoint.as_str().to_owned()))
    };
    for good in
        ["http://127.0.0.1:4318", "http://[::1]:4318", "http://collector", "http://host:1/base/", "http://[::1]"]
    {
        assert_eq!(endpoint(good).unwrap().as_deref(), Some(good));
    }
    assert_eq!(endpoint("").unwrap(), None);
    for bad in [
        "127.0.0.1:4318",
        "https://host",
        "http://",
        "http:///x",
        "http://h:0",
        "http://h:x",
        "http://a b",
        "http://u@h",
    ] {
        assert!(endpoint(bad).unwrap_err().to_string().contains("http://127.0.0.1:4318"), "{bad}");
    }
}
