/** What a measurement says: the JSON of `hardbit bench … --json`. */

export interface Seconds {
  readonly median: number;
  /** The first and the ninth decile. */
  readonly p10: number;
  readonly p90: number;
  /** How many were taken. */
  readonly samples: number;
}

export interface Peer {
  readonly name: string;
  readonly seconds: Seconds;
  /** Its median over ours: above 1 it is slower. */
  readonly ratio: number;
  /** Of its process: the most memory it ever held, where that was measured. */
  readonly peakMegabytes?: number;
}

/** A peer that was not measured, and why. */
export interface AbsentPeer {
  readonly name: string;
  readonly reason: string;
}

export interface BenchRow {
  readonly name: string;
  readonly shape: string;
  readonly threads: number;
  /** Of one run of the work. */
  readonly seconds: Seconds;
  /** Two a multiply-accumulate; null where they are not counted. */
  readonly operations: number | null;
  /** Operations a second, by the median. */
  readonly rate: number | null;
  /** Operations a second of registers alone on as many threads, measured between the row's own samples. */
  readonly limit: number | null;
  /** rate / limit */
  readonly fraction: number | null;
  /** The fastest first. */
  readonly peers: readonly Peer[];
  readonly absent: readonly AbsentPeer[];
  readonly peakMegabytes?: number;
}

export interface Machine {
  readonly cpu: string;
  readonly isa: string;
  /** Processors this process may use. */
  readonly processors: number;
  readonly threads: number;
  /** ISO 8601, when the measurement began. */
  readonly date: string;
  /** Over the minute before it began: figures of a busy machine mean little. */
  readonly loadAverage: number;
  readonly versions: Readonly<Record<string, string>>;
}

export interface BenchReport {
  readonly benchmark: string;
  readonly machine: Machine;
  /** What is counted as an operation, in a sentence. */
  readonly counted: string;
  readonly rows: readonly BenchRow[];
}
