//! The rows that are written by hand, one file each: `rNN` are the failure injections that deployers are compared by (18, the
//! confirmation of a boot, comes later), then what breaks the way back, what dies in the middle, and the races.

use crate::bench::Bench;
use crate::table::Row;

macro_rules! rows {
    ($($name:ident)*) => {
        $(mod $name;)*
        pub fn all() -> Vec<Row> {
            vec![$($name::ROW.row(stringify!($name))),*]
        }
    };
}

rows! {
    r01_client_killed
    r02_packets_dropped
    r03_confirm_over_the_original_connection
    r04_confirm_by_others
    r05_identical_and_never_confirmed
    r06_profile_moved_by_hand
    r07_endless_activation
    r08_revert_that_hangs
    r09_power_cut_before_the_confirmation
    r10_failed_before
    r11_switch_inhibitor
    r12_boot_is_full
    r13_two_deploys_at_once
    r14_garbage_collected
    r15_forced_back
    r16_environment_of_the_client
    r17_hostile_requests
    way_back_emergency_mode
    way_back_bus_gone
    way_back_state_moved
    way_back_state_mounted_over
    way_back_logind_broken
    way_back_without_sudo_rules
    way_back_without_nixgate
    way_back_by_the_timer
    way_back_without_sshd
    way_back_unit_that_nobody_wanted
    way_back_upgrade_of_nixgate
    way_back_bus_and_systemd_restarted
    way_back_sudo_rs
    job_killed_in_an_activation
    power_cut_in_an_activation
    power_cut_in_the_boot_loader
    job_killed_in_the_boot_loader
    job_killed_in_an_undo
    job_asked_to_end
    output_without_end_and_none
    state_of_another_version
    root_gets_neither_gate_nor_job
    sudo_lists_the_table_and_nothing_else
    race_timer_against_trial
    race_timer_against_set
    race_timer_against_commit
    race_timer_in_the_boot_loader
    race_timer_against_disarm
    race_timer_against_confirm
    race_timer_while_the_lock_is_held
    race_lock_held_in_a_commit
    race_collection_through_a_deploy
    race_collection_stopped_and_sudo_killed
    race_collection_stopped_and_a_cancel
    race_two_arms
    race_candidate_repointed
    race_disk_full_from_the_trial_on
    race_tolerated_4_and_a_second_deploy
    race_stalled_followers_and_a_confirmation
}

/// What the timer does at its time.
#[track_caller]
fn fire(bench: &Bench) -> String {
    bench.host.root("systemctl start nixgate-revert.service");
    "the old system was activated".to_owned()
}

/// Recovery does not start any more: what comes back does so without nixgate.
fn without_recovery(bench: &Bench) {
    bench.host.root(
        "mkdir -p /run/systemd/system/nixgate-recover.service.d; \
         printf '[Unit]\\nConditionPathExists=/nonexistent\\n' >/run/systemd/system/nixgate-recover.service.d/none.conf; \
         systemctl daemon-reload",
    );
}

fn with_recovery_again(bench: &Bench) {
    bench.host.root(
        "rm -r /run/systemd/system/nixgate-recover.service.d; systemctl daemon-reload; systemctl start nixgate-recover.service",
    );
}

/// The job lives, and cannot use sudo: nothing but the timer leads back.
#[track_caller]
fn timer_alone(bench: &mut Bench, fault: &str) -> String {
    bench.host.config_edit_only("activation = \"20s\"", "activation = \"5s\"");
    bench.host.config_edit("[confirm]", "[preflight]\nlock-out = \"allow\"\n\n[confirm]");
    let before = bench.facts();
    bench.commit(&[fault]);
    bench.host.ssh(&["switch"]).expect(21);
    let verdict = bench.ends(&before, "reverted");
    bench.deploy();
    format!("no sudo; {verdict}; the next deploy works")
}
