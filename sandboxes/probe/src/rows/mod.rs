//! Every row that the probe knows, by the name that the harness calls it with.

mod budgets;
mod calls;
mod files;
mod namespaces;
mod planted;
mod processes;
mod surroundings;
mod works;
mod works_files;

use crate::record::Record;

/// What a row does: it notes its attempts; the texts are the arguments after the row's name.
pub(crate) type Row = fn(&mut Record, &[String]);

/// Where a row may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// Anywhere: it changes nothing of the machine.
    Anywhere,
    /// Inside a sandbox only: outside, and as root, it would do harm.
    Inside,
}

/// Every row.
pub(crate) const ROWS: &[(&str, Where, Row)] = &[
    ("open", Where::Anywhere, surroundings::open_paths),
    ("list", Where::Anywhere, surroundings::list_folders),
    ("kinds", Where::Anywhere, files::kinds),
    ("sizes", Where::Anywhere, budgets::sizes),
    ("ids", Where::Anywhere, files::ids),
    ("sleep", Where::Anywhere, processes::sleep),
    ("end", Where::Anywhere, processes::end),
    ("reach", Where::Anywhere, processes::reach),
    ("allowed", Where::Anywhere, calls::allowed),
    ("P02", Where::Anywhere, surroundings::environment),
    ("P03", Where::Anywhere, surroundings::sockets),
    ("P05", Where::Anywhere, files::odd_names),
    ("swap", Where::Anywhere, files::swap),
    ("P09", Where::Inside, files::hard_links),
    ("P11", Where::Anywhere, surroundings::descriptors),
    ("P14", Where::Anywhere, files::special_files),
    ("P15", Where::Inside, files::set_id_program),
    ("P17", Where::Anywhere, files::attributes),
    ("watch", Where::Anywhere, surroundings::watch_folders),
    ("P18", Where::Anywhere, files::handles),
    ("P19", Where::Inside, files::read_only_places),
    ("P22", Where::Inside, files::forged_marks),
    ("plant", Where::Anywhere, planted::plant),
    ("P24", Where::Anywhere, files::rename_parents),
    ("P32", Where::Inside, processes::daemons),
    ("P33", Where::Inside, processes::stubborn),
    ("P34", Where::Inside, processes::signals),
    ("P35", Where::Inside, processes::fork_bomb),
    ("P36", Where::Inside, processes::thread_bomb),
    ("P37", Where::Inside, budgets::memory),
    ("P38", Where::Inside, budgets::disk),
    ("P39", Where::Inside, budgets::kernel_objects),
    ("P40", Where::Anywhere, budgets::output),
    ("P41", Where::Inside, budgets::tricks),
    ("P43", Where::Anywhere, processes::spin),
    ("P44", Where::Anywhere, namespaces::standard_input),
    ("P46", Where::Anywhere, namespaces::new_namespaces),
    ("P47", Where::Anywhere, namespaces::mounts),
    ("P48", Where::Anywhere, calls::rings),
    ("P49", Where::Anywhere, calls::other_processes),
    ("P50", Where::Anywhere, calls::keyrings),
    ("P51", Where::Anywhere, calls::machine),
    ("P52", Where::Anywhere, namespaces::enter_namespaces),
    ("P53", Where::Anywhere, calls::other_tables),
    ("P54", Where::Anywhere, calls::own_filters),
    ("P55", Where::Inside, namespaces::terminals),
    ("P56", Where::Inside, surroundings::kernel_settings),
    ("P57", Where::Anywhere, processes::crash),
    ("P58", Where::Inside, surroundings::kernel_files),
    ("P59", Where::Inside, surroundings::masked_paths),
    ("P60", Where::Inside, files::running_programs),
    ("P61", Where::Inside, surroundings::control_groups),
    ("P62", Where::Anywhere, surroundings::devices),
    ("P63", Where::Anywhere, namespaces::set_user_id_programs),
    ("P64", Where::Anywhere, namespaces::capabilities),
    ("P65", Where::Anywhere, files::ownership),
    ("P69", Where::Anywhere, surroundings::processes_and_mounts),
    ("P70", Where::Inside, calls::clock),
    ("P71", Where::Anywhere, files::unusual_programs),
    ("P85", Where::Anywhere, surroundings::search_for),
    ("P87", Where::Anywhere, surroundings::product),
    ("threads", Where::Anywhere, works::threads),
    ("subprocesses", Where::Anywhere, works::subprocesses),
    ("debugger", Where::Anywhere, works::debugger),
    ("memory", Where::Anywhere, works::memory),
    ("shared-memory", Where::Anywhere, works::shared_memory),
    ("loopback", Where::Anywhere, works::loopback),
    ("unix-sockets", Where::Anywhere, works::unix_sockets),
    ("timers", Where::Anywhere, works::timers),
    ("files", Where::Anywhere, works_files::files),
    ("workspace-files", Where::Anywhere, works_files::workspace_files),
    ("identity", Where::Anywhere, works_files::identity),
];

/// Whether this process is inside a sandbox of the product's: its host name is always the same.
pub(crate) fn is_inside() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/hostname").is_ok_and(|name| name.trim() == "cofferdam")
}
