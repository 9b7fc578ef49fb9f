mod audits;
mod circuit;
mod deployments;
mod hostile;
mod network;
mod policy;
mod rounds;
