//! Reads cluster traces in the CSV form of Alibaba's openb GPU trace (github.com/alibaba/clusterdata,
//! cluster-trace-gpu-v2023): one file of nodes, one of pods. Columns are found by their header; others are ignored.

use csv::{ReaderBuilder, StringRecord};

/// The largest capacity or request of any resource that is accepted: keeps the arithmetic of scores exact.
pub const MAX_QUANTITY: u64 = 1_000_000_000;
/// A whole GPU, in the unit of the trace.
pub const GPU_MILLI: u16 = 1_000;

/// A place in a file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}, column {column}: {reason}")]
pub struct CsvError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1; the header is line 1.
    pub line: u64,
    /// The column's name.
    pub column: String,
    /// What is wrong, and what is expected.
    pub reason: String,
}

/// A machine of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its serial number.
    pub name: String,
    /// CPU in milli-cores.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// GPUs.
    pub gpus: u8,
    /// Their model; empty without GPUs.
    pub model: String,
}

/// A job of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// CPU in milli-cores.
    pub cpu_milli: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// GPUs: 0 for none.
    pub gpus: u8,
    /// Thousandths of each GPU: 1000 for whole ones, less only with one GPU.
    pub gpu_milli: u16,
    /// The models that will do; empty for any.
    pub models: Vec<String>,
}

/// One record with what an error needs.
struct Row<'a> {
    file: &'a str,
    header: &'a StringRecord,
    record: StringRecord,
    line: u64,
}

impl Row<'_> {
    fn error(&self, column: &str, reason: impl Into<String>) -> CsvError {
        CsvError { file: self.file.to_owned(), line: self.line, column: column.to_owned(), reason: reason.into() }
    }

    fn text(&self, column: &str) -> Result<&str, CsvError> {
        let index = self.header.iter().position(|name| name.trim() == column);
        let value = index.and_then(|i| self.record.get(i));
        value.map(str::trim).ok_or_else(|| self.error(column, "the line ends before this column"))
    }

    fn name(&self, column: &str) -> Result<String, CsvError> {
        match self.text(column)? {
            "" => Err(self.error(column, "it is empty, a name is expected")),
            name => Ok(name.to_owned()),
        }
    }

    fn number(&self, column: &str, max: u64) -> Result<u64, CsvError> {
        let text = self.text(column)?;
        match text.parse::<u64>() {
            Ok(number) if number <= max => Ok(number),
            _ => Err(self.error(column, format!("{text:?} is not a whole number in 0..={max}"))),
        }
    }
}

fn read<T>(
    file: &str,
    text: &str,
    columns: &[&str],
    parse: impl Fn(&Row<'_>) -> Result<T, CsvError>,
) -> Result<Vec<T>, CsvError> {
    let broken = |e: csv::Error, column: &str| CsvError {
        file: file.to_owned(),
        line: e.position().map_or(1, csv::Position::line),
        column: column.to_owned(),
        reason: format!("the file is not CSV: {e}"),
    };
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| broken(e, "(header)"))?.clone();
    if let Some(missing) = columns.iter().find(|c| !header.iter().any(|name| name.trim() == **c)) {
        let reason = format!("the header lacks it; needed are {}", columns.join(", "));
        return Err(CsvError { file: file.to_owned(), line: 1, column: (*missing).to_owned(), reason });
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| broken(e, "(any)"))?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = Row { file, header: &header, record, line };
        if row.record.len() > header.len() {
            let reason = format!("{} fields, the header has {}", row.record.len(), header.len());
            return Err(row.error("(last)", reason));
        }
        rows.push(parse(&row)?);
    }
    Ok(rows)
}

/// Reads machines: `sn, cpu_milli, memory_mib, gpu, model`. `file` names the source in errors.
///
/// # Errors
/// [`CsvError`] with file, line and column.
pub fn parse_nodes(file: &str, text: &str) -> Result<Vec<Node>, CsvError> {
    read(file, text, &["sn", "cpu_milli", "memory_mib", "gpu", "model"], |row| {
        let node = Node {
            name: row.name("sn")?,
            cpu_milli: row.number("cpu_milli", MAX_QUANTITY)?,
            memory_mib: row.number("memory_mib", MAX_QUANTITY)?,
            gpus: row.number("gpu", crate::model::MAX_GPUS.into())? as u8,
            model: row.text("model")?.to_owned(),
        };
        for (column, value) in [("cpu_milli", node.cpu_milli), ("memory_mib", node.memory_mib)] {
            if value == 0 {
                return Err(row.error(column, "a machine without it cannot run anything"));
            }
        }
        if (node.gpus > 0) == node.model.is_empty() {
            return Err(row.error("model", "a model belongs to a machine with GPUs, and to no other"));
        }
        Ok(node)
    })
}

/// Reads jobs: `name, cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec`, the last with models apart by `|`.
///
/// # Errors
/// [`CsvError`] with file, line and column.
pub fn parse_pods(file: &str, text: &str) -> Result<Vec<Pod>, CsvError> {
    read(file, text, &["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec"], |row| {
        let models = row.text("gpu_spec")?.split('|').map(str::trim).filter(|m| !m.is_empty());
        let pod = Pod {
            name: row.name("name")?,
            cpu_milli: row.number("cpu_milli", MAX_QUANTITY)?,
            memory_mib: row.number("memory_mib", MAX_QUANTITY)?,
            gpus: row.number("num_gpu", crate::model::MAX_GPUS.into())? as u8,
            gpu_milli: row.number("gpu_milli", GPU_MILLI.into())? as u16,
            models: models.map(str::to_owned).collect(),
        };
        match (pod.gpus, pod.gpu_milli) {
            (0, 0) | (_, GPU_MILLI) if pod.gpus > 0 || pod.gpu_milli == 0 => Ok(pod),
            (1, 1..GPU_MILLI) => Ok(pod),
            _ => Err(row.error("gpu_milli", "it must be 0 without a GPU, 1..=1000 with one, 1000 with several")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model\na,32000,262144,0,\nb,96000,393216,2,P100\n";

    #[test]
    fn nodes_and_pods_are_read() {
        let nodes = parse_nodes("nodes.csv", NODES).expect("it is well formed");
        assert_eq!(
            nodes[1],
            Node { name: "b".into(), cpu_milli: 96_000, memory_mib: 393_216, gpus: 2, model: "P100".into() }
        );
        let pods =
            "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos\np,6000,12288,1,460,T4|P100,LS\nq,1,1,0,0,,BE\n";
        let pods = parse_pods("pods.csv", pods).expect("it is well formed");
        assert_eq!((pods[0].gpu_milli, pods[0].models.clone()), (460, vec!["T4".to_owned(), "P100".to_owned()]));
        assert_eq!(pods[1].gpus, 0);
    }

    #[test]
    fn an_error_names_file_line_and_column() {
        let at = |text: &str| {
            let e = parse_nodes("nodes.csv", text).expect_err("it is malformed");
            assert!(e.to_string().starts_with(&format!("nodes.csv, line {}, column {}:", e.line, e.column)));
            (e.line, e.column)
        };
        assert_eq!(at("sn,cpu_milli,gpu,model\n"), (1, "memory_mib".to_owned()));
        assert_eq!(at("sn,cpu_milli,memory_mib,gpu,model\na,1,1,0,\nb,x,1,0,\n"), (3, "cpu_milli".to_owned()));
        assert_eq!(at("sn,cpu_milli,memory_mib,gpu,model\na,1,-1,0,\n"), (2, "memory_mib".to_owned()));
        assert_eq!(at("sn,cpu_milli,memory_mib,gpu,model\na,1,1,9,X\n"), (2, "gpu".to_owned()));
        assert_eq!(at("sn,cpu_milli,memory_mib,gpu,model\na,1,1,1,\n"), (2, "model".to_owned()));
        assert_eq!(at("sn,cpu_milli,memory_mib,gpu,model\na,1\n"), (2, "memory_mib".to_owned()));
        assert_eq!(at("sn,cpu_milli,memory_mib,gpu,model\na,1,1,0,,7\n"), (2, "(last)".to_owned()));
        assert_eq!(at("sn,cpu_milli,memory_mib,gpu,model\n,1,1,0,\n"), (2, "sn".to_owned()));
        let pods = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\np,1,1,2,500,\n";
        assert_eq!(parse_pods("pods.csv", pods).expect_err("half of two GPUs").column, "gpu_milli");
    }
}
