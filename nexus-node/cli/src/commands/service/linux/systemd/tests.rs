use proptest::prelude::*;

use super::*;

#[path = "../../../../../tests/support/unit_file.rs"]
mod unit_file;

use unit_file::UnitFile;

fn words<'a>(program: &'a str, data_dir: &'a str) -> Words<'a> {
    Words { program, data_dir, account: None, state_home: None }
}

#[test]
fn the_unit_of_an_account_is_this() {
    let words = Words { state_home: Some("/s 1"), ..words("/opt/nexus/nexus-node", "/home/me/my 100% $node") };
    let text = text(Scope::User, &words);
    let expected = r#"# Written by `nexus-node service install`, which replaces it; `nexus-node service remove` deletes it.

[Unit]
Description=Nexus node
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=exec
ExecStart="/opt/nexus/nexus-node" "--data-dir" "/home/me/my 100%% $$node" "up" "--started-by" "service"
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 7
TimeoutStopSec=30
UMask=0077
LimitNOFILE=65536
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
Environment="XDG_STATE_HOME=/s 1"

[Install]
WantedBy=default.target
"#;
    assert_eq!(text, expected);
}

#[test]
fn the_unit_of_the_machine_is_for_its_account_and_its_directory_alone() {
    let words = Words { account: Some("alice"), ..words("/usr/bin/nexus-node", "/srv/nexus\\\"x") };
    let text = text(Scope::System, &words);
    let expected = r#"# Written by `nexus-node service install`, which replaces it; `nexus-node service remove` deletes it.

[Unit]
Description=Nexus node
After=network.target
RequiresMountsFor="/srv/nexus\\\"x"
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=exec
ExecStart="/usr/bin/nexus-node" "--data-dir" "/srv/nexus\\\"x" "up" "--started-by" "service"
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 7
TimeoutStopSec=30
UMask=0077
LimitNOFILE=65536
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
User=alice
CapabilityBoundingSet=
ProtectSystem=strict
ReadWritePaths="/srv/nexus\\\"x"
ProtectHome=yes
StateDirectory=nexus-node
StateDirectoryMode=0700
Environment="XDG_STATE_HOME=/var/lib/nexus-node"
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes

[Install]
WantedBy=multi-user.target
"#;
    assert_eq!(text, expected);
}

#[test]
fn homes_stay_readable_if_the_node_or_its_program_is_in_one() {
    for (program, data_dir, rule) in [
        ("/usr/bin/n", "/srv/n", "yes"),
        ("/home/me/.cargo/bin/n", "/srv/n", "read-only"),
        ("/usr/bin/n", "/root/n", "read-only"),
        ("/usr/bin/n", "/homes/n", "yes"),
    ] {
        let unit = UnitFile::parse(&text(Scope::System, &words(program, data_dir)));
        assert_eq!(unit.get("ProtectHome"), rule, "{program} {data_dir}");
    }
}

proptest! {
    /// promise: Commands and API | Any path reaches the program through systemd as it is
    #[test]
    fn any_path_comes_out_of_the_unit_as_it_went_in(
        program in "/[^\\p{Cc}]{1,40}",
        data_dir in "/([^\\p{Cc}]|[\"'\\\\$% ;#{}]){1,40}",
        state in "/[^\\p{Cc}]{1,20}",
    ) {
        let of = Words { state_home: Some(&state), account: Some("a%u"), ..words(&program, &data_dir) };
        let user = UnitFile::parse(&text(Scope::User, &of));
        let system = UnitFile::parse(&text(Scope::System, &of));
        let arguments = ["--data-dir", &data_dir, "up", "--started-by", "service"];
        for unit in [&user, &system] {
            prop_assert_eq!(unit.command("ExecStart"), (program.clone(), arguments.map(str::to_owned).to_vec()));
        }
        prop_assert_eq!(user.words("Environment"), [format!("XDG_STATE_HOME={state}")]);
        prop_assert_eq!(system.words("ReadWritePaths"), [data_dir.clone()]);
        prop_assert_eq!(system.words("RequiresMountsFor"), [data_dir.clone()]);
        prop_assert_eq!(system.get("User"), "a%%u");
        prop_assert!(names(&text(Scope::User, &of), &data_dir));
    }
}
