//! Accepts connections, within limits, until told to stop.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use strata_gate::{Seats, client};
use strata_seam::{Said, Stopwatch};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::NfsLimits;
use crate::connection;
use crate::dispatch::Service;
use crate::door::{Budgets, NfsDoor};
use crate::metrics::{NfsMetrics, count};

/// Pause after a failed accept: what fails it (no free descriptors) does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves NFS, MOUNT and portmap on `listener` until `shutdown` resolves; then takes no more requests, and returns
/// when those in work are answered or the drain time is over.
pub async fn serve(listener: TcpListener, door: Arc<NfsDoor>, shutdown: impl Future<Output = ()>) {
    accept(listener, door, Service::All, shutdown).await;
}

/// Serves only portmap on `listener` (usually on port 111), telling `nfs_port` to clients that ask, until `shutdown`
/// resolves. For clients that cannot be told a port.
pub async fn serve_portmap(
    listener: TcpListener,
    door: Arc<NfsDoor>,
    nfs_port: u16,
    shutdown: impl Future<Output = ()>,
) {
    accept(listener, door, Service::Portmap { nfs_port }, shutdown).await;
}

async fn accept(listener: TcpListener, door: Arc<NfsDoor>, service: Service, shutdown: impl Future<Output = ()>) {
    let (stop, stopped) = watch::channel(false);
    let clients = Arc::new(Clients::default());
    let seats = Seats::new(door.limits.connections_max, door.limits.connections_per_client_max);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    let (mut said, begun) = (Said::default(), Stopwatch::start());
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let seat = match seats.take(address.ip()) {
                        Ok(seat) => seat,
                        Err(full) => {
                            count(&door.metrics().connections_refused);
                            tracing::debug!(client = %address, error = %full, "an nfs connection was refused");
                            continue;
                        }
                    };
                    let client = Clients::enter(&clients, address, &door.limits, door.metrics());
                    count(&door.metrics().connections_accepted);
                    let (door, stopped) = (Arc::clone(&door), stopped.clone());
                    connections.spawn(async move {
                        let budgets = Arc::clone(&client.budgets);
                        let run = connection::run(door, stream, address, service, (budgets, Arc::clone(&seat)), stopped);
                        if let Err(error) = run.await {
                            tracing::debug!(client = %address, error = %error, "nfs connection failed");
                        }
                        drop(client);
                    });
                }
                Err(error) => {
                    if said.is_new(&error, begun.elapsed().as_nanos() as u64) {
                        tracing::warn!(error = %error, "nfs door cannot accept connections for now");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(door.limits.drain_timeout, drained).await.is_err() {
        tracing::warn!(left = connections.len(), "nfs connections did not end in time and are cut");
        connections.shutdown().await;
    }
}

/// The addresses with open connections, and what each may take.
#[derive(Default)]
struct Clients {
    by_address: Mutex<HashMap<IpAddr, (usize, Arc<Budgets>)>>,
}

/// An open connection of a client.
struct Entered {
    budgets: Arc<Budgets>,
    clients: Arc<Clients>,
    address: IpAddr,
    metrics: Arc<NfsMetrics>,
}

impl Clients {
    fn enter(this: &Arc<Self>, address: SocketAddr, limits: &NfsLimits, metrics: &Arc<NfsMetrics>) -> Entered {
        let address = client(address.ip());
        let mut by_address = this.by_address.lock();
        let (connections, budgets) = by_address.entry(address).or_insert_with(|| (0, Budgets::of_client(limits)));
        *connections += 1;
        let budgets = Arc::clone(budgets);
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        Entered { budgets, clients: Arc::clone(this), address, metrics: Arc::clone(metrics) }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut by_address = self.clients.by_address.lock();
        if let Some((connections, _)) = by_address.get_mut(&self.address) {
            *connections -= 1;
            if *connections == 0 {
                by_address.remove(&self.address);
            }
        }
        self.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_address_share_a_budget_until_the_last_ends() {
        let (clients, metrics, limits) = (Arc::default(), Arc::default(), NfsLimits::default());
        let enter = |text: &str| Clients::enter(&clients, text.parse().unwrap(), &limits, &metrics);
        let (first, second, other) = (enter("10.0.0.1:1000"), enter("10.0.0.1:1001"), enter("10.0.0.2:1000"));
        assert!(Arc::ptr_eq(&first.budgets, &second.budgets) && !Arc::ptr_eq(&first.budgets, &other.budgets));
        assert_eq!(metrics.connections.load(Ordering::Relaxed), 3);
        drop((first, second));
        assert_eq!(clients.by_address.lock().len(), 1);
        assert_eq!(metrics.connections.load(Ordering::Relaxed), 1);
    }
}
