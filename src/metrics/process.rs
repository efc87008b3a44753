//! The figures of the process itself, under the names that Prometheus's own libraries use.

use procfs::process::{LimitValue, Process as Entry};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Read at each scrape. What cannot be read is left out.
#[derive(Debug)]
pub(super) struct Process;

struct Figures {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: i64,
    open_files: Option<u64>,
    most_files: Option<u64>,
    started: Option<f64>,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Ok(figures) = read() else { return Ok(()) };
        let mut gauge = |name: &str, help: &str, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        #[expect(clippy::cast_precision_loss, reason = "a double is what the format has")]
        let number = |value: u64| value as f64;
        gauge("process_resident_memory_bytes", "Resident memory", Some(number(figures.resident_bytes)))?;
        gauge("process_virtual_memory_bytes", "Virtual memory", Some(number(figures.virtual_bytes)))?;
        gauge("process_threads", "Threads", u64::try_from(figures.threads).ok().map(number))?;
        gauge("process_open_fds", "Open file descriptors", figures.open_files.map(number))?;
        gauge("process_max_fds", "The most open file descriptors", figures.most_files.map(number))?;
        gauge("process_start_time_seconds", "The start, in seconds since 1970", figures.started)?;
        let cpu = ConstCounter::new(figures.cpu_seconds);
        let help = "CPU time in user and system mode";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)
    }
}

fn read() -> procfs::ProcResult<Figures> {
    let entry = Entry::myself()?;
    let stat = entry.stat()?;
    #[expect(clippy::cast_precision_loss, reason = "below 2^53 for ages")]
    let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
    #[expect(clippy::cast_precision_loss, reason = "below 2^53 for ages")]
    let started = procfs::boot_time_secs().ok().map(|boot| boot as f64 + seconds(stat.starttime));
    Ok(Figures {
        cpu_seconds: seconds(stat.utime + stat.stime),
        resident_bytes: stat.rss * procfs::page_size(),
        virtual_bytes: stat.vsize,
        threads: stat.num_threads,
        open_files: entry.fd_count().ok().map(|count| count as u64),
        most_files: entry.limits().ok().and_then(|limits| match limits.max_open_files.soft_limit {
            LimitValue::Value(most) => Some(most),
            LimitValue::Unlimited => None,
        }),
        started,
    })
}
